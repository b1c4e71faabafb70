"""KFP in memory, as facts.md says it behaves: names are not unique, a lost answer may still run, listing may lag."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from statemachine.contracts.errors import Unreachable
from statemachine.contracts.kfp_run import KfpRun, KfpRunState, PinnedVersion
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from statemachine.ports import PinnedVersions

PIN = PinnedVersion("pipeline", "version", "hash")


@dataclass
class Job:
    """A workflow: its order, its state, and from when on the API can see it."""

    kfp_run: KfpRun
    order: StageRequest
    visible_at: float = 0.0
    ends_at: float = float("inf")


@dataclass
class MemoryPipelines:
    """`Pipelines` in a dict. `lag`: seconds until a new run can be listed; `stopping`: seconds in CANCELING."""

    clock: Callable[[], float]
    jobs: dict[str, Job] = field(default_factory=dict)
    lag: float = 0.0
    stopping: float = 0.0
    down: bool = False
    lose_answers: int = 0
    missing: str = ""
    calls: dict[str, int] = field(default_factory=dict)
    created: list[StageRequest] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)

    def get(self, kfp_id: str) -> KfpRun | None:
        """One run; unlike listing, asking by id does not lag once it is there."""
        self._called("get")
        self._drain()
        job = self.jobs.get(kfp_id)
        return job.kfp_run if job and job.visible_at <= self.clock() else None

    def list(self, prefix: str, since: float = 0.0) -> tuple[KfpRun, ...]:
        """Those that can be listed by now."""
        self._called("list")
        self._drain()
        observed = [job for job in self.jobs.values() if job.visible_at <= self.clock()]
        found = [job.kfp_run for job in observed if job.kfp_run.created_at >= since]
        return tuple(kfp_run for kfp_run in found if kfp_run.name.startswith(prefix))

    def create(self, order: StageRequest, pin: PinnedVersion) -> KfpRun:
        """A new run each time; when an answer is lost, the workflow runs all the same."""
        self._called("create")
        self.created.append(order)
        kfp_id = f"kfp-{len(self.created)}"
        kfp_run = KfpRun(kfp_id, order.name, order.launch_id, KfpRunState.RUNNING, self.clock())
        lost = self.lose_answers > 0
        self.jobs[kfp_id] = Job(kfp_run, order, self.clock() + (self.lag if lost else 0.0))
        if lost:
            self.lose_answers -= 1
            raise Unreachable("the answer to CreateRun was lost")
        return kfp_run

    def stop(self, kfp_id: str) -> None:
        """A stopped run is CANCELING for a while, may still work, and ends as FAILED."""
        self._called("stop")
        self.stopped.append(kfp_id)
        job = self.jobs.get(kfp_id)
        if job and job.kfp_run.state.stoppable:
            job.kfp_run = replace(job.kfp_run, state=KfpRunState.CANCELING)
            job.ends_at = self.clock() + self.stopping
            self._drain()

    def pins(self, stages: Iterable[Stage]) -> PinnedVersions:
        """All published, unless a test says otherwise."""
        self._called("pins")
        return PinnedVersions({} if self.missing else {stage.value: PIN for stage in stages}, self.missing)

    def end(self, kfp_id: str, state: KfpRunState, error: str = "") -> None:
        """The workflow ends by itself."""
        job = self.jobs[kfp_id]
        if not job.kfp_run.state.over:
            job.kfp_run = replace(job.kfp_run, state=state, error=error)

    def working(self, name: str = "") -> tuple[Job, ...]:
        """Workflows whose pods may be working, listed or not."""
        self._drain()
        jobs = self.jobs.values()
        return tuple(job for job in jobs if not job.kfp_run.state.over and job.kfp_run.name.startswith(name))

    def _drain(self) -> None:
        for job in self.jobs.values():
            if job.kfp_run.state is KfpRunState.CANCELING and self.clock() >= job.ends_at:
                job.kfp_run = replace(job.kfp_run, state=KfpRunState.FAILED, error="terminated")

    def _called(self, name: str) -> None:
        self.calls[name] = self.calls.get(name, 0) + 1
        if self.down:
            raise Unreachable("KFP does not answer")


@dataclass(frozen=True)
class DenyingPipelines:
    """KFP that answers each call with the same error."""

    trouble: Exception

    def __getattr__(self, name: str) -> Callable[..., None]:
        def refuse(*_: object) -> None:
            raise self.trouble

        return refuse
