"""Rights in multi-user mode, as KFP checks them by a SubjectAccessReview. In single-user mode all users have all.

Read in upstream 2.17.0: backend/src/apiserver/resource/resource_manager.go (IsAuthorized, ReplaceNamespace) and
canAccessExperiment, canAccessPipeline, canAccessRun, canAccessJob in server/*.go.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from local.kfp.errors import PERMISSION_DENIED, UNAUTHENTICATED, ApiError, invalid, refusal

GROUP = "pipelines.kubeflow.org"
READING = ("get", "list")
EMPTY = {
    "experiments": "An experiment cannot have an empty namespace in multi-user mode",
    "runs": "A run cannot have an empty namespace in multi-user mode",
    "jobs": "A recurring run cannot have an empty namespace in multi-user mode",
}


@dataclass(frozen=True)
class User:
    """The user of a token, and the (namespace, resource, verb) that RBAC grants."""

    name: str
    may: Collection[tuple[str, str, str]] = ()


@dataclass(frozen=True)
class KfpAccess:
    """`users` are those of a multi-user KFP by token; None means single-user mode. `own` is KFP's own namespace."""

    users: Mapping[str, User] | None = None
    own: str = "kubeflow"
    checked: list[tuple[str, str, str]] = field(default_factory=list, compare=False)

    @property
    def multi_user(self) -> bool:
        """Whether namespaces and rights apply."""
        return self.users is not None

    def namespace(self, checked: str | None) -> str:
        """`ReplaceNamespace`: the requested namespace, or "" in single-user mode."""
        return (checked or "") if self.multi_user else ""

    def check(self, authorization: str, verb: str, resource: str, namespace: str) -> None:
        """Check the right of the bearer.

        Raises:
            ApiError: 401, an unknown token; 403, RBAC does not grant it; 400, the namespace is missing.
        """
        if self.users is None:
            return
        if not namespace:
            if resource != "pipelines":
                raise invalid(EMPTY[resource])
            if verb in READING:  # every user may read a shared pipeline
                return
            namespace = self.own
        user = self.users.get(authorization.removeprefix("Bearer "))
        if user is None or not authorization.startswith("Bearer "):
            message = "Failed to check authorization. User identity is empty in the request header"
            raise refusal(UNAUTHENTICATED, "Unauthenticated", message)
        self.checked.append((namespace, resource, verb))
        if (namespace, resource, verb) not in user.may:
            message = (
                f"User '{user.name}' is not authorized with reason:  (request: &ResourceAttributes{{"
                f"Namespace:{namespace},Verb:{verb},Group:{GROUP},Version:v1beta1,Resource:{resource},}})"
            )
            raise ApiError(403, PERMISSION_DENIED, f"PermissionDenied: {message}: Unauthorized access", message)
