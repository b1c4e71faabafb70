"""A run's states in KFP: PENDING, RUNNING, at the end SUCCEEDED or FAILED; CANCELING in between if terminated."""

import json
import shutil
import uuid
from collections import deque
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from local import process
from local.kfp import clock
from local.kfp.errors import FAILED_PRECONDITION, exists, internal, invalid, not_found, refusal
from local.kfp.launcher import Launcher
from local.kfp.layout import ERROR, LOG, OUTPUTS, SPEC, TASKS
from local.kfp.parameters import check_arguments
from local.kfp.pipelines import Registry, as_internal, short
from local.kfp.store import Document, DocumentStore
from local.kfp.tasks import task_details

ACTIVE = frozenset({"PENDING", "RUNNING", "PAUSED", "CANCELING"})
KEPT = ("pipeline_spec", "pipeline_version_id", "pipeline_version_reference", "recurring_run_id")
TERMINABLE = frozenset({"PENDING", "RUNNING", "PAUSED"})


class RunService:
    """The runs as the API's own JSON objects. Each has a folder with its log, artifacts and steps.

    `processes` are stored beside them, so that after a crash the next server can end them.
    """

    def __init__(
        self, store: DocumentStore, registry: Registry, launcher: Launcher, folder: Path, root: str, now: clock.Clock
    ) -> None:
        self._store, self._registry, self._launcher = store, registry, launcher
        self._folder, self._root, self._now = folder, root, now
        self.born: deque[tuple[datetime, str]] = deque(maxlen=1000)  # for `listing_lag`

    def create(self, body: Document) -> Document:
        """Create a run, which starts at once. Display names need not be unique; a client may set `run_id`."""
        converting = "Failed to convert API run to its internal representation"
        if not body.get("display_name"):
            raise internal(converting, invalid("Run name cannot be empty"))
        with as_internal(converting):
            short("Run", UUID=(body.get("run_id") or "", 191), ExperimentId=(body.get("experiment_id") or "", 64))
        experiment = self._registry.get("experiment", body.get("experiment_id") or self._registry.default_experiment())
        with as_internal("Failed to create a run due to error fetching manifest"):
            spec = self._registry.spec_of(body)
        run = self._new(body, experiment, check_arguments(spec, self._config(body).get("parameters") or {}))
        with self._store.lock:
            if self._store.get("run", run["run_id"]):
                raise exists("run", run["run_id"])
            self._enter(run, "PENDING")
            self._registry.keep_experiment(run["experiment_id"], last_run_created_at=run["created_at"])
        self.born.append((self._now(), run["run_id"]))
        self._launch(run, spec)
        return run

    def get(self, run_id: str) -> Document:
        """Return one run with its steps, archived or not."""
        run = self._known(run_id)
        steps = task_details(self.folder(run_id), run_id)
        return run | ({"run_details": {"task_details": steps}} if steps else {})

    def all(self) -> list[Document]:
        """Return all runs, oldest first."""
        return self._store.all("run")

    def hidden(self, lag: timedelta) -> list[str]:
        """Return the ids of runs younger than `lag`."""
        since = self._now() - lag
        while self.born and self.born[0][0] <= since:
            self.born.popleft()
        return [run_id for _, run_id in self.born]

    def terminate(self, run_id: str) -> None:
        """Terminate a run. It is CANCELING until its processes have ended, then FAILED.

        As in upstream's TerminateRun, the state is written before the workflow is patched. If the workflow is gone, the
        first
        call is a 500, every later one a 400, and the run stays CANCELING.
        """
        with self._store.lock:
            run = self._known(run_id)
            if run["state"] not in TERMINABLE:
                raise invalid(f"Failed to terminate a run {run_id}. Row not found")
            if run.get("_vanished"):
                run["state"] = "CANCELING"  # the history is written from the workflow's reports
                self._store.put("run", run_id, run)
                gone = not_found("workflows.argoproj.io", run_id)
                raise internal(f"Failed to terminate run {run_id} due to error terminating its workflow", gone)
            self._enter(run, "CANCELING")
        self._launcher.terminate(run_id)

    def vanish(self, run_id: str) -> None:
        """For tests: delete the run's workflow behind KFP's back, so nothing reports on the run any more."""
        with self._store.lock:
            self._store.put("run", run_id, self._known(run_id) | {"_vanished": True})
        self._launcher.terminate(run_id)

    def retry(self, run_id: str) -> None:
        """Execute a failed run again under its id. (The real server repeats only the failed steps, this one all.)"""
        with self._store.lock:
            run = self._known(run_id)
            if run["state"] != "FAILED":
                cause = invalid(f"workflow must be Failed/Error to retry, and it is {run['state']}")
                raise internal(f"Failed to retry run {run_id} as it does not allow retries", cause)
            spec = self._registry.spec_of(run)
            run["finished_at"] = clock.NEVER
            for name in (TASKS, ERROR):
                (self.folder(run_id) / name).unlink(missing_ok=True)
            self._enter(run, "PENDING")
        self._launch(run, spec)

    def archive(self, run_id: str, state: str) -> None:
        """Archive a run in any state, or unarchive it, unless its experiment is archived."""
        with self._store.lock:
            run = self._known(run_id)
            experiment = self._store.get("experiment", run["experiment_id"]) or {}
            if state == "AVAILABLE" and experiment.get("storage_state") == "ARCHIVED":
                message = (
                    f"Failed to unarchive run {run_id} as experiment {run['experiment_id']} must be un-archived first"
                )
                raise refusal(FAILED_PRECONDITION, "FailedPreconditionError", message)
            self._store.put("run", run_id, run | {"storage_state": state})

    def archive_all_of(self, experiment: str) -> None:
        """Archive all runs of an archived experiment. Unarchiving the experiment does not unarchive them."""
        with self._store.lock:
            for run in self._store.find("run", "scope = ?", (experiment,)):
                self._store.put("run", run["run_id"], run | {"storage_state": "ARCHIVED"})

    def delete(self, run_id: str) -> None:
        """Delete a run. A run that is executing is ended first."""
        with self._store.lock:
            run = self._known(run_id)
            self._store.delete("run", run_id)
        if run["state"] in ACTIVE:
            self._launcher.terminate(run_id)
        else:
            shutil.rmtree(self.folder(run_id), ignore_errors=True)

    def folder(self, run_id: str) -> Path:
        """Return the folder of a run's log, artifacts and notes."""
        return self._folder / run_id

    def started(self, run_id: str, leader: process.Identity) -> None:
        """Called by the launcher: the run has a process."""
        with self._store.lock:
            self._store.put("process", run_id, {"run_id": run_id, "pid": leader.pid, "started": leader.started})
            run = self._store.get("run", run_id)
            if run and run["state"] == "PENDING":
                self._enter(run, "RUNNING")

    def ended(self, run_id: str, code: int) -> None:
        """Called by the launcher: the run's processes have ended. A terminated run is FAILED in any case."""
        with self._store.lock:
            self._store.delete("process", run_id)
            run = self._store.get("run", run_id)
            if run is None or run["state"] not in ACTIVE or run.get("_vanished"):
                return
            if run["state"] == "CANCELING":
                self._fail(run, "the run was terminated")
            elif code == 0:
                run["finished_at"] = clock.write(self._now())
                self._enter(run, "SUCCEEDED")
            else:
                self._fail(run, _reason(self.folder(run_id), code))

    def recover(self) -> None:
        """After a crash: end the processes of the last server, and fail their runs."""
        for left in self._store.all("process"):
            process.sweep(process.Identity(left["pid"], left["started"]))
            self._store.delete("process", left["run_id"])
        self.abandon("the server died while the run was executing")

    def abandon(self, reason: str) -> None:
        """Fail every run that has not ended."""
        with self._store.lock:
            for run in self._store.all("run"):
                if run["state"] in ACTIVE and not run.get("_vanished"):
                    self._fail(run, reason)

    def _launch(self, run: Document, spec: Document) -> None:
        folder = self.folder(run["run_id"])
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / SPEC
        path.write_text(json.dumps(spec.get("pipeline_spec", spec)), encoding="utf-8")
        order = {
            "run_id": run["run_id"],
            "folder": str(folder),
            "spec": str(path),
            "arguments": run["runtime_config"]["parameters"],
            "root": str(folder / OUTPUTS),
            "log": str(folder / LOG),
        }
        self._launcher.submit(order)

    def _new(self, body: Document, experiment: Document, arguments: dict[str, Any]) -> Document:
        moment = clock.write(self._now())
        return {
            "run_id": body.get("run_id") or str(uuid.uuid4()),
            "experiment_id": experiment["experiment_id"],
            "namespace": experiment["namespace"],
            "display_name": body["display_name"],
            "description": body.get("description") or "",
            "storage_state": "AVAILABLE",
            "runtime_config": {
                "parameters": arguments,
                "pipeline_root": self._config(body).get("pipeline_root") or self._root,
            },
            "service_account": body.get("service_account") or "",
            "created_at": moment,
            "scheduled_at": body.get("scheduled_at") or moment,
            "finished_at": clock.NEVER,
            **{name: body[name] for name in KEPT if body.get(name)},
        }

    def _config(self, body: Document) -> Document:
        config: Document = body.get("runtime_config") or {}
        return config

    def _known(self, run_id: str) -> Document:
        run = self._store.get("run", run_id)
        if run is None:
            raise not_found("Run", run_id)
        return run

    def _fail(self, run: Document, reason: str) -> None:
        """Fail the run without a reason: KFP sets `run.error` only for an unreadable run. The run's log has the
        reason.
        """
        run["finished_at"] = clock.write(self._now())
        folder = self.folder(run["run_id"])
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / LOG, "a", encoding="utf-8") as log:
            log.write(f"\n{reason}\n")
        self._enter(run, "FAILED")

    def _enter(self, run: Document, state: str) -> None:
        run["state"] = state
        run.setdefault("state_history", []).append({"update_time": clock.write(self._now()), "state": state})
        self._store.put("run", run["run_id"], run)


def _reason(folder: Path, code: int) -> str:
    path = folder / ERROR
    return path.read_text(encoding="utf-8") if path.is_file() else f"the run's process ended with status {code}"
