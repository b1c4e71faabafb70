"""What simulated stages write: correct reports by default, or whatever a test scripts."""

import json
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from simulation.memory.application import MemoryApplication
from simulation.memory.kfp import Job, MemoryPipelines
from statemachine.contracts import paths
from statemachine.contracts.kfp_run import KfpRunState
from statemachine.contracts.report import REPORT, STARTED, Artifact, Outcome, Report
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest

Play = Callable[[StageRequest], Report | bytes | None]
MADE = b"what the stage made"
WRITE = ("bucket", "key", "etag")
GOOD = {"auc_roc": 0.97, "average_precision": 0.6, "f1": 0.6}


def ok(
    order: StageRequest, details: Mapping[str, Any] | None = None, outputs: Mapping[str, str] | None = None
) -> Report:
    """A report that says `ok`."""
    artifacts = {name: Artifact(uri) for name, uri in (outputs or {}).items()}
    return _report(order, Outcome.OK, details=details or {}, outputs=artifacts)


def refused(order: StageRequest, reason: str, outputs: Mapping[str, str] | None = None) -> Report:
    """A report with outcome `refused`."""
    artifacts = {name: Artifact(uri) for name, uri in (outputs or {}).items()}
    return _report(order, Outcome.REFUSED, reason=reason, outputs=artifacts)


def failed(
    order: StageRequest, reason: str, *, permanent: bool = False, details: Mapping[str, Any] | None = None
) -> Report:
    """A report that the work could not be done."""
    return _report(order, Outcome.FAILED, reason=reason, permanent=permanent, details=details or {})


def _report(order: StageRequest, outcome: Outcome, **more: Any) -> Report:
    return Report(order.run_id, order.stage.value, order.attempt, order.launch_id, outcome, **more)


def evaluation(auc: float = 0.97, champion: str = "", anchor: str = "", difference: float = 0.0) -> dict[str, Any]:
    """What evaluate measures; by default it passes the default gate."""
    spread = {"mean": difference, "low": difference - 0.001, "high": difference + 0.001}
    beside = {"metrics": GOOD, "difference": {"auc_roc": spread, "average_precision": spread}}
    return {
        "format": 1,
        "rows": 40_000,
        "frauds": 100,
        "threshold": 0.5,
        "metrics": {**GOOD, "auc_roc": auc},
        "intervals": {},
        "champion": {"version": champion, **beside} if champion else None,
        "anchor": {"version": anchor, **beside} if anchor else None,
        "drift": {},
        "slices": [],
        "baselines": {},
    }


def measured(order: StageRequest, **changes: float) -> dict[str, Any]:
    """An evaluation against the versions that the order names, as an honest stage makes it."""
    champion, anchor = (order.inputs.get(role, "").rsplit("/", 1)[-1] for role in ("champion", "anchor"))
    return evaluation(champion=champion, anchor=anchor, **changes)


def replayed(order: StageRequest, **changes: Any) -> dict[str, Any]:
    """Figures of a shadow in which candidate and champion answer alike, as an honest stage makes them."""
    candidate, champion = (
        order.inputs.get(role, "").rstrip("/").rsplit("/", 1)[-1] for role in ("repository", "champion")
    )
    return figures_of(candidate, champion, **changes)


def figures_of(candidate: str, champion: str, error: str = "", **changes: Any) -> dict[str, Any]:
    """Figures of these two versions; by default they pass the default policy. `error`: the candidate does not load."""
    tried = {"error": "", "answered": 300, "failed": 0, "reason": "", "p50_ms": 4.0, "p99_ms": 9.0, "alerts": 30}
    return {
        "format": 1,
        "source": "log",
        "requests": 300,
        "control": {"compared": 300, "reproduced": 300, "max_difference": 1e-7},
        "candidate": {**tried, "version": candidate, "error": error},
        "champion": {**tried, "version": champion} if champion else None,
        "compared": 300,
        "psi": 0.02,
        "disagreements": 3,
        "segments": [],
        "changes": [],
        **changes,
    }


def honest(order: StageRequest) -> Report:
    """What a stage that does its work reports."""
    here = order.output_uri
    match order.stage:
        case Stage.PREPROCESS:
            names = ("dataset", "profile", "objects", "index")
            return ok(order, outputs={name: f"{here}/{name}" for name in names})
        case Stage.MATERIALISE:
            return ok(order)
        case Stage.TRAIN:
            return ok(order, outputs={"model": f"{here}/model"})
        case Stage.EVALUATE:
            return ok(order, {"evaluation": measured(order)}, {"evaluation": f"{here}/evaluation.json"})
        case Stage.EXPORT:
            version = f"{order.run_id}-{zlib.crc32(order.run_id.encode()):08x}"
            there = paths.version_folder(paths.root_of(here, order.run_id), order.model, version)
            return ok(order, {"version": version}, {"repository": there})
        case Stage.SHADOW:
            return ok(order, {"shadow": replayed(order)}, {"shadow": f"{here}/shadow.json"})
        case Stage.DEPLOY | Stage.RESTORE:
            served = [{"pod": "triton-0", "version": order.parameters["version"]}]
            return ok(order, {"served": served, "generation": order.parameters["generation"]})


@dataclass
class Stages:
    """Plays the pods: for each launch writes `started.json`, then the report, then lets KFP see the end."""

    pipelines: MemoryPipelines
    files: Any
    clock: Callable[[], float]
    applications: defaultdict[str, MemoryApplication] = field(default_factory=lambda: defaultdict(MemoryApplication))
    plays: dict[str, list[Play]] = field(default_factory=dict)
    always: dict[str, Play] = field(default_factory=dict)
    hanging: set[str] = field(default_factory=set)
    unschedulable: set[str] = field(default_factory=set)

    def script(self, stage: Stage, *plays: Play) -> None:
        """What the next launches of a stage do, one by one; after that they are honest."""
        self.plays.setdefault(stage.value, []).extend(plays)

    @property
    def application(self) -> MemoryApplication:
        """The one of the model `fraud`."""
        return self.applications["fraud"]

    def every(self, stage: Stage, play: Play) -> None:
        """What each launch of a stage does that is not scripted."""
        self.always[stage.value] = play

    def release(self, order: StageRequest) -> Report:
        """A deploy or restore that works, unless it is fenced."""
        application = self.applications[order.model]
        if not application.patch(order):
            live = application.generation
            return failed(order, f"generation {live} is live", details={"live_generation": live})
        return honest(order)

    def break_on_load(self, order: StageRequest) -> Report:
        """A deploy that moves the pointer, after which the new pods do not become ready."""
        if not self.applications[order.model].patch(order):
            return self.release(order)
        return failed(order, "the pods do not become ready", permanent=True, details={"condition": "CrashLoopBackOff"})

    def run(self) -> int:
        """Let every working launch finish; how many did."""
        running = [job for job in self.pipelines.jobs.values() if job.kfp_run.state is KfpRunState.RUNNING]
        jobs = [job for job in running if not self._idle(job)]
        for job in jobs:
            self.finish(job)
        return len(jobs)

    def _idle(self, job: Job) -> bool:
        return job.kfp_run.kfp_id in self.hanging or job.kfp_run.name in self.unschedulable

    def finish(self, job: Job) -> None:
        """One launch does its work and ends. A play that returns `None` hangs: it started, and goes on for ever."""
        order, scripted = job.order, self.plays.get(job.order.stage.value, [])
        usual = self.release if order.stage in (Stage.DEPLOY, Stage.RESTORE) else honest
        reply = scripted.pop(0)(order) if scripted else self.always.get(order.stage.value, usual)(order)
        started = json.dumps({"started_at": self.clock()}).encode()
        self.files.bodies.setdefault(f"{order.output_uri}/{STARTED}", started)
        if reply is None:
            self.hanging.add(job.kfp_run.kfp_id)
            return
        if isinstance(reply, Report) and order.stage is Stage.PREPROCESS and "objects" in reply.outputs:
            self.files.bodies.setdefault(reply.outputs["objects"].uri, self._verdicts(order, reply))
            if "index" in reply.outputs:
                self.files.bodies.setdefault(reply.outputs["index"].uri, self._index(order, reply))
        for artifact in reply.outputs.values() if isinstance(reply, Report) else ():
            self.files.bodies.setdefault(artifact.uri, MADE)
        self.files.bodies[f"{order.output_uri}/{REPORT}"] = reply.dumps() if isinstance(reply, Report) else reply
        ended = isinstance(reply, Report) and reply.outcome is not Outcome.FAILED
        self.pipelines.end(job.kfp_run.kfp_id, KfpRunState.SUCCEEDED if ended else KfpRunState.FAILED)

    def _verdicts(self, order: StageRequest, report: Report) -> bytes:
        new = [obj for obj in json.loads(self.files.bodies[order.inputs["manifest"]])["objects"] if obj["new"]]
        status = "ACCEPTED" if report.outcome is Outcome.OK else "QUARANTINED"
        verdicts = [{**{k: obj[k] for k in WRITE}, "status": status, "problems": []} for obj in new]
        return json.dumps(verdicts).encode()

    def _index(self, order: StageRequest, report: Report) -> bytes:
        """The former index without what was removed, with what is accepted now: of each key the newest write."""
        manifest = json.loads(self.files.bodies[order.inputs["manifest"]])
        before = json.loads(self.files.bodies[manifest["index"]]) if manifest["index"] else []
        gone = [tuple(obj[name] for name in WRITE) for obj in manifest["removed"]]
        try:
            reply = json.loads(self.files.bodies[report.outputs["objects"].uri])
            bad = [tuple(verdict[name] for name in WRITE) for verdict in reply if verdict["status"] != "ACCEPTED"]
        except (ValueError, KeyError, TypeError, RecursionError):  # a test had it write nonsense
            return MADE
        kept = {obj["key"]: obj for obj in before if tuple(obj[name] for name in WRITE) not in {*gone, *bad}}
        new = {obj["key"]: obj for obj in manifest["objects"] if tuple(obj[n] for n in WRITE) not in bad}
        return json.dumps([{name: obj[name] for name in WRITE} for obj in (kept | new).values()]).encode()
