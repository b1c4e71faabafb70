"""The cluster as the deploy stage needs it: one Application and the pods behind it, with the stage's own errors."""

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
    """We asked and got no answer, which says nothing about the world."""


class ClusterForbidden(ClusterUnreachable):
    """401, 403 or 404: for good only if it persists, since an API server that has just restarted says so, too."""


class StaleResourceVersion(Exception):
    """A conditional write lost: the Application has changed since it was read."""


class Cluster(Protocol):
    """One Application and the pods behind it."""

    def application(self) -> Application:
        """The Application now. Raises ClusterUnreachable if it cannot be read, Permanent if that will not change."""

    def patch(self, patch: Json) -> None:
        """A merge patch. Raises StaleResourceVersion, ClusterUnreachable or Permanent."""

    def pods(self) -> list[Pod]:
        """The pods that take requests and are not about to end."""


class Kubernetes:
    """`Cluster` by the pod's own service account, or by `KUBERNETES_API_URL` (plain HTTP: the local system)."""

    def __init__(self, application: str, application_namespace: str, namespace: str, service: str) -> None:
        with _ours():
            self._api = kubernetes.connect(os.environ.get("KUBERNETES_API_URL", ""), in_pod=True)
        self._application = kubernetes.Applications(self._api, application_namespace, application)
        self._namespace, self._service = namespace, service

    def application(self) -> Application:
        """The Application now."""
        with _ours():
            return Application(self._application.read())

    def patch(self, patch: Json) -> None:
        """A merge patch; a field that the server does not know is an error, not a shrug."""
        with _ours():
            self._application.patch(patch)

    def pods(self) -> list[Pod]:
        """The pods of the headless Service that serve and are not terminating."""
        with _ours():
            return kubernetes.pods_of(self._api, self._namespace, self._service)


@contextmanager
def _ours() -> Iterator[None]:
    """The client's errors as a stage tells them."""
    try:
        yield
    except Conflict as error:
        raise StaleResourceVersion(str(error)) from error
    except kubernetes.Denied as error:
        raise ClusterForbidden(str(error)) from error
    except Unreachable as error:
        raise ClusterUnreachable(str(error)) from error
    except (OperationRefused, Misconfigured) as error:
        raise Permanent(str(error)) from error
