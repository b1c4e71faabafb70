"""Reads and changes the Argo CD Application: pure functions of the object.

The rules are those of Argo CD's own API server (`application.go`, `argo.go`). The stage does not call that server,
because it has no Argo CD account, only its pod's service account.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]

GENERATION = "fraudloop.io/generation"
OWNER = "fraudloop.io/owner"
POINTER = "fraudloop.io/model-version"
CORRELATION = "correlationId"
CONTROLLER = "controller"


@dataclass(frozen=True)
class Application:
    """The Application as it was read."""

    body: Json

    @property
    def resource_version(self) -> str:
        """The resource version that a conditional write has to name."""
        return str(self.body["metadata"]["resourceVersion"])

    @property
    def generation(self) -> int:
        """The generation of the last deployment that wrote the pointer; 0 if there was none.

        Raises:
            ValueError: the annotation is not a number.
        """
        return int(self._annotations.get(GENERATION, 0))

    @property
    def owner(self) -> str:
        """Who deploys to the Application; "" if no annotation says so."""
        return str(self._annotations.get(OWNER, ""))

    @property
    def version(self) -> str:
        """The model version that the Application points at; "" if none."""
        kustomize = self._source.get("kustomize") or {}
        return str((kustomize.get("commonAnnotations") or {}).get(POINTER, ""))

    @property
    def operating(self) -> bool:
        """Whether an operation is requested or running."""
        return bool(self.body.get("operation"))

    @property
    def operation_started(self) -> bool:
        """Whether Argo CD has started the operation, so that it can be terminated."""
        return self.operating and self._state.get("phase") == "Running"

    @property
    def terminating(self) -> bool:
        """Whether termination of the operation was requested."""
        return self.operating and self._state.get("phase") == "Terminating"

    @property
    def phase(self) -> str:
        """The phase of the last operation, with its message."""
        return f"{self._state.get('phase', 'unknown')}: {self._state.get('message', '')}".rstrip(": ")

    @property
    def health(self) -> str:
        """Healthy, Progressing, Degraded, …"""
        return str((self._status.get("health") or {}).get("status", "Unknown"))

    @property
    def condition(self) -> str:
        """Sync status and health with its message, for people."""
        sync, health = self._status.get("sync") or {}, self._status.get("health") or {}
        words = f"{sync.get('status', 'Unknown')} and {self.health}"
        return f"{words} ({health['message']})" if health.get("message") else words

    @property
    def settled(self) -> bool:
        """Synced and Healthy. The healthy pods may still be the old ones."""
        return (self._status.get("sync") or {}).get("status") == "Synced" and self.health == "Healthy"

    @property
    def operation_id(self) -> str:
        """The correlation id of the requested operation; "" if it has none."""
        return _correlation(self.body.get("operation") or {})

    @property
    def last_operation_id(self) -> str:
        """The correlation id of the operation in the status."""
        return _correlation(self._state.get("operation") or {})

    @property
    def finished(self) -> bool:
        """The last operation has ended, none is running, and Argo CD has refreshed the status since."""
        ended = str(self._state.get("finishedAt") or "")
        return not self.operating and bool(ended) and str(self._status.get("reconciledAt") or "") >= ended

    @property
    def succeeded(self) -> bool:
        """Whether the last operation succeeded. `Running` with `finishedAt` waits for a retry."""
        return self._state.get("phase") == "Succeeded"

    def pointing(self, version: str, generation: int) -> Json:
        """Returns the merge patch that changes pointer and generation together, on the condition of this resource
        version.
        """
        return {
            "metadata": {
                "resourceVersion": self.resource_version,
                "annotations": {GENERATION: str(generation)},
            },
            "spec": {"source": {"kustomize": {"commonAnnotations": {POINTER: version}}}},
        }

    def syncing(self, correlation_id: str) -> Json:
        """Returns the merge patch that requests a sync, with the Application's own options, which Argo CD would not
        add.
        """
        policy = self.body["spec"].get("syncPolicy") or {}
        sync = {
            "revision": self._source.get("targetRevision", ""),
            "prune": bool((policy.get("automated") or {}).get("prune", False)),
            "syncStrategy": {"hook": {}},
            "syncOptions": policy.get("syncOptions"),
        }
        operation = {
            "initiatedBy": {"username": "fraudloop"},
            "info": [{"name": CORRELATION, "value": correlation_id}],
            "retry": policy.get("retry"),
            "sync": {name: value for name, value in sync.items() if value is not None},
        }
        return {
            "metadata": {"resourceVersion": self.resource_version},
            "operation": {name: value for name, value in operation.items() if value is not None},
            "status": {"operationState": None},
        }

    def ending(self) -> Json:
        """Returns the merge patch that terminates the running operation."""
        return {
            "metadata": {"resourceVersion": self.resource_version},
            "status": {"operationState": {"phase": "Terminating"}},
        }

    @property
    def _annotations(self) -> Json:
        return self.body["metadata"].get("annotations") or {}

    @property
    def _source(self) -> Json:
        return self.body["spec"].get("source") or {}

    @property
    def _status(self) -> Json:
        return self.body.get("status") or {}

    @property
    def _state(self) -> Json:
        return self._status.get("operationState") or {}


def _correlation(operation: Json) -> str:
    info = operation.get("info") or []
    return next((str(item.get("value", "")) for item in info if item.get("name") == CORRELATION), "")
