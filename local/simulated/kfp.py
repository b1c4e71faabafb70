"""KFP in memory, as facts.md says it behaves: names are not unique, a lost answer may still run, listing may lag."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from statemachine.core.errors import Unreachable
from statemachine.core.launch import Launch, LaunchState, Pin
from statemachine.core.order import Order
from statemachine.core.states import Stage
from statemachine.ports import Pins

PIN = Pin("pipeline", "version", "hash")


@dataclass
class Job:
    """A workflow: its order, its state, and from when on the API can see it."""

    launch: Launch
    order: Order
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
    created: list[Order] = field(default_factory=list)

    def get(self, kfp_id: str) -> Launch | None:
        """One run; unlike listing, asking by id does not lag once it is there."""
        self._called("get")
        self._settle()
        job = self.jobs.get(kfp_id)
        return job.launch if job and job.visible_at <= self.clock() else None

    def list(self, prefix: str) -> tuple[Launch, ...]:
        """Those that can be listed by now."""
        self._called("list")
        self._settle()
        seen = [job for job in self.jobs.values() if job.visible_at <= self.clock()]
        return tuple(job.launch for job in seen if job.launch.name.startswith(prefix))

    def create(self, order: Order, pin: Pin) -> Launch:
        """A new run each time; when an answer is lost, the workflow runs all the same."""
        self._called("create")
        self.created.append(order)
        kfp_id = f"kfp-{len(self.created)}"
        launch = Launch(kfp_id, order.name, order.launch_id, LaunchState.RUNNING, self.clock())
        lost = self.lose_answers > 0
        self.jobs[kfp_id] = Job(launch, order, self.clock() + (self.lag if lost else 0.0))
        if lost:
            self.lose_answers -= 1
            raise Unreachable("the answer to CreateRun was lost")
        return launch

    def stop(self, kfp_id: str) -> None:
        """A stopped run is CANCELING for a while, may still work, and ends as FAILED."""
        self._called("stop")
        job = self.jobs.get(kfp_id)
        if job and job.launch.state.stoppable:
            job.launch = replace(job.launch, state=LaunchState.CANCELING)
            job.ends_at = self.clock() + self.stopping
            self._settle()

    def pins(self, stages: Iterable[Stage]) -> Pins:
        """All published, unless a test says otherwise."""
        self._called("pins")
        return Pins({} if self.missing else {stage.value: PIN for stage in stages}, self.missing)

    def end(self, kfp_id: str, state: LaunchState, error: str = "") -> None:
        """The workflow ends by itself."""
        job = self.jobs[kfp_id]
        if not job.launch.state.over:
            job.launch = replace(job.launch, state=state, error=error)

    def working(self, name: str = "") -> tuple[Job, ...]:
        """Workflows whose pods may be working, listed or not."""
        self._settle()
        jobs = self.jobs.values()
        return tuple(job for job in jobs if not job.launch.state.over and job.launch.name.startswith(name))

    def _settle(self) -> None:
        for job in self.jobs.values():
            if job.launch.state is LaunchState.CANCELING and self.clock() >= job.ends_at:
                job.launch = replace(job.launch, state=LaunchState.FAILED, error="terminated")

    def _called(self, name: str) -> None:
        self.calls[name] = self.calls.get(name, 0) + 1
        if self.down:
            raise Unreachable("KFP does not answer")
