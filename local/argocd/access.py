"""Who asks, what they may do, and what an API server answers in the minutes after a restart."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from local.argocd.errors import StatusError, forbidden, unavailable

Verbs = frozenset[tuple[str, str]]  # (verb, resource)


@dataclass
class KubernetesAccess:
    """`users`: bearer token → who that is and what they may. Without a token somebody may do everything.

    After a restart a server answers 503, then 403 to everybody while its RBAC caches fill (kube-apiserver 1.36, ran).
    """

    users: Mapping[str, tuple[str, Verbs]] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic
    _ready_at: float = 0.0
    _settled_at: float = 0.0

    def restarted(self, unavailable: float, forbidden: float) -> None:
        """It was restarted just now: so many seconds of 503, then so many of 403."""
        self._ready_at = self.clock() + unavailable
        self._settled_at = self._ready_at + forbidden

    def user(self, authorization: str) -> str:
        """Who sends this header. Raises StatusError (401) for a token that nobody has."""
        return self._known(authorization)[0]

    def check(self, authorization: str, verb: str, resource: str, group: str, namespace: str, name: str = "") -> None:
        """Raises StatusError: 503 or 403 after a restart, 401 or 403 for somebody who may not."""
        if self.clock() < self._ready_at:
            raise unavailable()
        user, verbs = self._known(authorization)
        denied = verbs is not None and (verb, resource) not in verbs
        if denied or self.clock() < self._settled_at:
            raise forbidden(user, verb, resource, group, namespace, name)

    def _known(self, authorization: str) -> tuple[str, Verbs | None]:
        token = authorization.removeprefix("Bearer ")
        if not token:
            return "kubernetes-admin", None
        try:
            return self.users[token]
        except KeyError:
            raise StatusError(401, "Unauthorized", "Unauthorized") from None
