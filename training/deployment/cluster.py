"""The deploy stage's view of the cluster: one Application, its pods, and the stage's own errors."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from clients import kubernetes
from clients.kubernetes import Json, Pod
from statemachine.contracts.errors import Conflict, Misconfigured, OperationRefused, Unreachable
from training.deployment.argocd import Application
from training.outcome import Permanent, Transient

__all__ = ["Cluster", "ClusterForbidden", "ClusterUnreachable", "Kubernetes", "Pod", "StaleResourceVersion"]


class ClusterUnreachable(Transient):
    """A request got no answer, so the state of the cluster is unknown."""


class ClusterForbidden(ClusterUnreachable):
    """401, 403 or 404. It is permanent only if it persists: an API server answers so just after a restart, too."""


class StaleResourceVersion(Exception):
    """A conditional write failed because the Application has changed since it was read."""


class Cluster(Protocol):
    """One Application and its pods."""

    def application(self) -> Application:
        """Reads the Application. Raises ClusterUnreachable, or Permanent if another try cannot help."""

    def patch(self, patch: Json) -> None:
        """Applies a merge patch. Raises StaleResourceVersion, ClusterUnreachable or Permanent."""

    def pods(self) -> list[Pod]:
        """Lists the pods that serve requests and are not terminating."""


class Kubernetes:
    """`Cluster` by the pod's service account, or by `KUBERNETES_API_URL` (plain HTTP: the local system)."""

    def __init__(self, application: str, application_namespace: str, namespace: str, service: str) -> None:
        with _ours():
            self._api = kubernetes.connect(os.environ.get("KUBERNETES_API_URL", ""), in_pod=True)
        self._application = kubernetes.Applications(self._api, application_namespace, application)
        self._namespace, self._service = namespace, service

    def application(self) -> Application:
        """Reads the Application."""
        with _ours():
            return Application(self._application.read())

    def patch(self, patch: Json) -> None:
        """Applies a merge patch. The server refuses fields that it does not know."""
        with _ours():
            self._application.patch(patch)

    def pods(self) -> list[Pod]:
        """Lists the pods of the headless Service that serve and are not terminating."""
        with _ours():
            return kubernetes.pods_of(self._api, self._namespace, self._service)


@contextmanager
def _ours() -> Iterator[None]:
    """Translates the client's errors into the stage's."""
    try:
        yield
    except Conflict as error:
        raise StaleResourceVersion(str(error)) from error
    except kubernetes.ApiDenied as error:
        raise ClusterForbidden(str(error)) from error
    except Unreachable as error:
        raise ClusterUnreachable(str(error)) from error
    except (OperationRefused, Misconfigured) as error:
        raise Permanent(str(error)) from error
