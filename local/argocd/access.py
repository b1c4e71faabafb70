"""Authentication and authorization of requests, and the errors of an API server just after a restart."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from local.argocd.errors import StatusError, forbidden, unavailable

Verbs = frozenset[tuple[str, str]]  # (verb, resource)


@dataclass
class KubernetesAccess:
    """`users`: bearer token → user and rights. A request without a token may do everything.

    After a restart a server answers 503, then 403 to all users while its RBAC caches fill (kube-apiserver 1.36, ran).
    """

    users: Mapping[str, tuple[str, Verbs]] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic
    _ready_at: float = 0.0
    _settled_at: float = 0.0

    def restarted(self, unavailable: float, forbidden: float) -> None:
        """Simulate a restart now: so many seconds of 503, then so many of 403."""
        self._ready_at = self.clock() + unavailable
        self._settled_at = self._ready_at + forbidden

    def user(self, authorization: str) -> str:
        """Return the user of this header. Raises StatusError (401) for an unknown token."""
        return self._known(authorization)[0]

    def check(self, authorization: str, verb: str, resource: str, group: str, namespace: str, name: str = "") -> None:
        """Raise StatusError: 503 or 403 after a restart, 401 or 403 for a user without the right."""
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
