"""Argo CD's application controller for one Application: runs operations, compares, and reports health."""

import threading
from typing import Any, Protocol

from local.argocd.record import ApplicationRecord, Json, now

REFRESH = "argocd.argoproj.io/refresh"
VERSION = "fraudloop.io/model-version"
REVISION = "local"
PAUSE = 0.1


class Workload(Protocol):
    """What a sync changes: the Deployment."""

    def want(self, version: str) -> None:
        """Roll out `version` ("": none)."""

    def health(self) -> tuple[str, str]:
        """Return Argo CD's word for the health, and a message."""


class Syncer:
    """Advances the Application one step every `PAUSE` seconds. A sync succeeds once it is *applied*; health follows."""

    def __init__(self, record: ApplicationRecord, workload: Workload) -> None:
        self._record = record
        self._workload = workload
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="argocd-syncer", daemon=True)

    def start(self) -> None:
        """Restore what was synced before a restart, then start the loop."""
        self._workload.want(_synced_version(self._record.get()))
        self._thread.start()

    def stop(self) -> None:
        """Stop the loop. A running operation continues after the next start."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def step(self) -> None:
        """Read the Application and do what follows from it."""
        live = self._record.get()
        if "operation" in live:
            self._operate(live)
        self._reconcile(self._record.get())

    def _run(self) -> None:
        while not self._stopped.wait(PAUSE):
            self.step()

    def _operate(self, live: Json) -> None:
        state = live.get("status", {}).get("operationState", {})
        phase = state.get("phase", "")
        if phase not in ("Running", "Terminating"):
            self._begin(live["operation"])
        elif phase == "Terminating":
            self._finish("Failed", "Operation terminated")
        else:
            self._apply(live, state)

    def _begin(self, operation: Json) -> None:
        state = {"operation": operation, "phase": "Running", "startedAt": now(), "message": "waiting for the sync"}
        self._record.update({"status": {"operationState": None}})
        self._record.update({"status": {"operationState": state}})

    def _apply(self, live: Json, state: Json) -> None:
        sync = state["operation"].get("sync")
        if sync is None:
            self._finish("Error", "the operation is not a sync")
            return
        source = sync.get("source") or live["spec"]["source"]
        self._workload.want(_version(source))
        history = live.get("status", {}).get("history", [])
        entry = {
            "id": 1 + max((past["id"] for past in history), default=-1),
            "revision": REVISION,
            "deployStartedAt": state["startedAt"],
            "deployedAt": now(),
            "source": source,
            "initiatedBy": state["operation"].get("initiatedBy", {}),
        }
        limit = live["spec"].get("revisionHistoryLimit", 10)
        history_now = [*history, entry][-limit:]
        result = {"revision": REVISION, "source": source}
        self._record.update({"status": {"history": history_now, "operationState": {"syncResult": result}}})
        self._finish("Succeeded", "successfully synced (all tasks run)")

    def _finish(self, phase: str, message: str) -> None:
        done = {"phase": phase, "message": message, "finishedAt": now()}
        self._record.update({"operation": None, "status": {"operationState": done}})

    def _reconcile(self, live: Json) -> None:
        """Compare and assess, if something changed or a refresh was requested, and record the time."""
        status, (health, message) = live.get("status", {}), self._workload.health()
        synced = "Synced" if _synced_source(live) == live["spec"]["source"] else "OutOfSync"
        refresh = REFRESH in live["metadata"].get("annotations", {})
        finished = status.get("operationState", {}).get("finishedAt", "")
        before = (status.get("sync", {}).get("status"), status.get("health", {}).get("status"))
        if before == (synced, health) and not refresh and status.get("reconciledAt", "") >= finished:
            return
        if before[1] != health:
            self._record.update({"status": {"health": {"lastTransitionTime": now()}}})
        news: dict[str, Any] = {
            "sync": {"status": synced, "revision": REVISION},
            "health": {"status": health, "message": message or None},
            "reconciledAt": now(),
        }
        self._record.update({"metadata": {"annotations": {REFRESH: None}}, "status": news})


def _synced_source(live: Json) -> Json | None:
    history = live.get("status", {}).get("history", [])
    return history[-1]["source"] if history else None


def _synced_version(live: Json) -> str:
    return _version(_synced_source(live) or {})


def _version(source: Json) -> str:
    version: str = source.get("kustomize", {}).get("commonAnnotations", {}).get(VERSION, "")
    return version
