"""A run's life as KFP shows it: PENDING, RUNNING, and at the end SUCCEEDED or FAILED, by way of CANCELING if asked."""

import json
import shutil
import uuid
from pathlib import Path
from typing import Any

from local import process
from local.kfp import clock
from local.kfp.errors import exists, invalid, not_found
from local.kfp.launcher import Launcher
from local.kfp.layout import ERROR, LOG, OUTPUTS, SPEC, TASKS
from local.kfp.pipelines import Registry
from local.kfp.store import Document, DocumentStore
from local.kfp.tasks import task_details

ACTIVE = frozenset({"PENDING", "RUNNING", "PAUSED", "CANCELING"})
TERMINABLE = frozenset({"PENDING", "RUNNING", "PAUSED"})


class Runs:
    """The runs, as the API's own JSON objects; each has a folder with its log, artifacts and steps.

    `processes` are kept beside them, so that after a crash the next server finds what the last one left.
    """

    def __init__(
        self, store: DocumentStore, registry: Registry, launcher: Launcher, folder: Path, root: str, now: clock.Clock
    ) -> None:
        self._store, self._registry, self._launcher = store, registry, launcher
        self._folder, self._root, self._now = folder, root, now

    def create(self, body: Document) -> Document:
        """A new run, which begins at once. Display names need not be unique; a client may set `run_id`."""
        if not body.get("display_name"):
            raise invalid("the run has no display_name")
        spec = self._registry.spec_of(body)
        experiment = body.get("experiment_id") or self._registry.default_experiment()
        self._registry.get("experiment", experiment)
        config = body.get("runtime_config") or {}
        arguments = check_arguments(spec, config.get("parameters") or {})
        moment = clock.write(self._now())
        run = {
            "run_id": body.get("run_id") or str(uuid.uuid4()),
            "experiment_id": experiment,
            "display_name": body["display_name"],
            "description": body.get("description") or "",
            "storage_state": "AVAILABLE",
            "runtime_config": {"parameters": arguments, "pipeline_root": config.get("pipeline_root") or self._root},
            "service_account": body.get("service_account") or "",
            "created_at": moment,
            "scheduled_at": body.get("scheduled_at") or moment,
            "finished_at": clock.NEVER,
            **{name: body[name] for name in ("pipeline_version_reference", "recurring_run_id") if body.get(name)},
            **({"pipeline_spec": body["pipeline_spec"]} if body.get("pipeline_spec") else {}),
        }
        with self._store.lock:
            if self._store.get("run", run["run_id"]):
                raise exists("run", run["run_id"])
            self._enter(run, "PENDING")
        self._launch(run, spec)
        return run

    def get(self, run_id: str) -> Document:
        """One run with its steps, archived or not."""
        run = self._store.get("run", run_id)
        if run is None:
            raise not_found("run", run_id)
        return run | {"run_details": {"task_details": task_details(self.folder(run_id), run_id)}}

    def all(self) -> list[Document]:
        """All runs, the oldest first, without the specs they brought along."""
        return [{key: value for key, value in run.items() if key != "pipeline_spec"} for run in self._store.all("run")]

    def terminate(self, run_id: str) -> None:
        """Ask a run to end; it is CANCELING until its processes are gone, and FAILED then."""
        with self._store.lock:
            run = self._known(run_id)
            if run["state"] not in TERMINABLE:
                raise invalid(f"run {run_id} cannot be terminated, since it is {run['state']}")
            self._enter(run, "CANCELING")
        self._launcher.terminate(run_id)

    def retry(self, run_id: str) -> None:
        """Run a failed run again under its own id. (The real server repeats the failed steps only; this one, all.)"""
        with self._store.lock:
            run = self._known(run_id)
            if run["state"] != "FAILED":
                raise invalid(f"run {run_id} cannot be retried, since it is {run['state']}")
            spec = self._registry.spec_of(run)
            run.pop("error", None)
            run["finished_at"] = clock.NEVER
            for name in (TASKS, ERROR):
                (self.folder(run_id) / name).unlink(missing_ok=True)
            self._enter(run, "PENDING")
        self._launch(run, spec)

    def archive(self, run_id: str, state: str) -> None:
        """Move a run to the archive, or out of it; only one at rest can be archived."""
        with self._store.lock:
            run = self._known(run_id)
            if run["state"] in ACTIVE and state == "ARCHIVED":
                raise invalid(f"run {run_id} cannot be archived, since it is {run['state']}")
            run["storage_state"] = state
            self._store.put("run", run_id, run)

    def delete(self, run_id: str) -> None:
        """Forget a run; one that is executing is ended first."""
        with self._store.lock:
            run = self._known(run_id)
            self._store.delete("run", run_id)
        if run["state"] in ACTIVE:
            self._launcher.terminate(run_id)
        else:
            shutil.rmtree(self.folder(run_id), ignore_errors=True)

    def folder(self, run_id: str) -> Path:
        """Where a run's log, artifacts and notes lie."""
        return self._folder / run_id

    def started(self, run_id: str, leader: process.Identity) -> None:
        """From the launcher: the run has a process."""
        with self._store.lock:
            self._store.put("process", run_id, {"run_id": run_id, "pid": leader.pid, "started": leader.started})
            run = self._store.get("run", run_id)
            if run and run["state"] == "PENDING":
                self._enter(run, "RUNNING")

    def ended(self, run_id: str, code: int) -> None:
        """From the launcher: the run's processes are gone. A terminated run ends as FAILED, whatever it did."""
        with self._store.lock:
            self._store.delete("process", run_id)
            run = self._store.get("run", run_id)
            if run is None or run["state"] not in ACTIVE:
                return
            if run["state"] == "CANCELING":
                self._fail(run, "the run was terminated")
            elif code == 0:
                run["finished_at"] = clock.write(self._now())
                self._enter(run, "SUCCEEDED")
            else:
                self._fail(run, _reason(self.folder(run_id), code))

    def recover(self) -> None:
        """After a crash: end what the last server left running, and fail those runs."""
        for left in self._store.all("process"):
            process.sweep(process.Identity(left["pid"], left["started"]))
            self._store.delete("process", left["run_id"])
        self.abandon("the server died while the run was executing")

    def abandon(self, reason: str) -> None:
        """Fail every run that has not ended."""
        with self._store.lock:
            for run in self._store.all("run"):
                if run["state"] in ACTIVE:
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

    def _known(self, run_id: str) -> Document:
        run = self._store.get("run", run_id)
        if run is None:
            raise not_found("run", run_id)
        return run

    def _fail(self, run: Document, reason: str) -> None:
        run["finished_at"] = clock.write(self._now())
        run["error"] = {"code": 13, "message": reason}
        self._enter(run, "FAILED")

    def _enter(self, run: Document, state: str) -> None:
        run["state"] = state
        run.setdefault("state_history", []).append({"update_time": clock.write(self._now()), "state": state})
        self._store.put("run", run["run_id"], run)


def check_arguments(spec: Document, given: dict[str, Any]) -> dict[str, Any]:
    """The arguments, if the pipeline takes them all and has all that it requires."""
    declared = spec.get("pipeline_spec", spec)["root"].get("inputDefinitions", {}).get("parameters", {})
    if unknown := sorted(set(given) - set(declared)):
        raise invalid(f"the pipeline takes no parameter {', '.join(unknown)}")
    required = {name for name, one in declared.items() if "defaultValue" not in one and not one.get("isOptional")}
    if missing := sorted(required - set(given)):
        raise invalid(f"the pipeline requires the parameter {', '.join(missing)}")
    return given


def _reason(folder: Path, code: int) -> str:
    path = folder / ERROR
    return path.read_text(encoding="utf-8") if path.is_file() else f"the run's process ended with status {code}"
