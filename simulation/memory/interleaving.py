"""A world in which workers overtake each other, clocks differ, answers get lost and pods lie."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from simulation.memory.kfp import Job
from simulation.memory.stages import Play, failed, honest, measured, ok, refused, replayed
from simulation.memory.workers import Worker, Yielding, current
from simulation.memory.world import World
from statemachine.contracts.kfp_run import KfpRun, KfpRunState
from statemachine.contracts.report import Report
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from statemachine.core.run import Run
from statemachine.core.window import Object
from statemachine.store import Store

LAMBDA_TIMEOUT = 60.0
MOST_LAG = 110.0  # KFP shows a run, or its agent has deleted the workflow, within the grace


@dataclass
class InterleavedWorld(World):
    """Every call of a port is a moment at which another worker may come first."""

    workers: list[Worker] = field(default_factory=list)
    messages: list[tuple[Object, ...]] = field(default_factory=list)
    freeze: bool = False  # the next worker that is about to launch something
    undead: set[str] = field(default_factory=set)  # launches by workers that outlived their Lambda

    def __post_init__(self) -> None:
        super().__post_init__()
        self.pipelines.clock = self.stages.clock = lambda: self.now
        ports = (self.table, self.pipelines, self.files, self.hints)
        self.wire(*(Yielding(port, self._called) for port in ports))
        self.onlooker = Store(self.table, self.new_id)

    def clock(self) -> float:
        """The time on the machine of whoever asks."""
        worker = current()
        return self.now + (worker.skew if worker else 0.0)

    def _called(self, worker: Worker, name: str, given: tuple[Any, ...]) -> None:
        if name == "create" and self.overdue(worker):
            self.undead.add(given[0].launch_id)

    def overdue(self, worker: Worker) -> bool:
        """Its Lambda should have been killed by now."""
        return self.now - worker.born > LAMBDA_TIMEOUT

    # -- workers ------------------------------------------------------------------------------------------------

    def begin(self, name: str, job: Callable[[], Any], skew: float = 0.0, late: bool = False) -> Worker:
        """A new worker, standing before its first call."""
        worker = Worker(name, job, self.now, skew, late)
        if not worker.done:
            self.workers.append(worker)
        return worker

    def go_on(self, worker: Worker, calls: int) -> None:
        """Let it make so many calls, or be killed if its time is over."""
        for _ in range(calls):
            if worker.done:
                break
            if self.overdue(worker) and not worker.late:
                worker.kill()
            else:
                worker.step()
        self.workers = [each for each in self.workers if not each.done]

    def go_until(self, worker: Worker, call: str) -> None:
        """Let it go on until it stands before such a call (or is done)."""
        while not worker.done and not worker.before.endswith(call):
            self.go_on(worker, 1)

    def make_room(self, most: int) -> None:
        """The oldest of too many workers run to their end."""
        while len(self.workers) >= most:
            self.go_on(self.workers[0], 1000)

    def arrival(self, batch: tuple[Object, ...]) -> Callable[[], Any]:
        """The arrival handler: what it does not finish, SQS delivers again."""

        def job() -> None:
            self.intake.arrive(batch)
            if batch in self.messages:
                self.messages.remove(batch)

        return job

    def nightly(self, slot: str) -> Callable[[], Any]:
        """The nightly handler."""

        return lambda: self.nightly_schedule(slot)

    def quiet_minute(self, seconds: float = 60) -> None:
        """A minute in which nobody is overtaken, though those who stand somewhere still stand there."""
        self.now += seconds
        for job in self.pipelines.working():
            if job.kfp_run.state is KfpRunState.RUNNING and self._is_lucky(job):
                self.stages.finish(job)
        self.begin("tick", self.tick).finish()
        for _ in range(200):
            if not self.hints.queue:
                break
            run_id = self.hints.queue.popleft()
            self._look(run_id)
        self.workers = [each for each in self.workers if not each.done]

    def _look(self, run_id: str) -> None:
        worker = self.begin("look", lambda: self.reconciler.look_at(run_id), late=self.freeze)
        if self.freeze:
            self.go_until(worker, ".create")
            self.freeze = worker.done
        if not self.freeze and worker.late and not worker.done:
            return  # there it stands, right before its launch, while others go on
        worker.finish()

    def _is_lucky(self, job: Job) -> bool:
        """A pod takes a few minutes, the same ones in each replay of an example."""
        idle = job.kfp_run.kfp_id in self.stages.hanging
        return not idle and zlib.crc32(f"{job.kfp_run.kfp_id} {self.now}".encode()) % 2 == 0

    # -- pods ---------------------------------------------------------------------------------------------------

    def pod(self, job: Job, how: str) -> None:
        """One pod does something."""
        if how == "vanishes":
            self.pipelines.end(job.kfp_run.kfp_id, KfpRunState.FAILED, "evicted")
            return
        self.stages.plays.setdefault(job.order.stage.value, []).insert(0, self.plays()[how])
        self.stages.hanging.discard(job.kfp_run.kfp_id)
        state = job.kfp_run.state
        self.stages.finish(job)
        if how == "reports" and state is KfpRunState.RUNNING:
            job.kfp_run = KfpRun(**{**vars(job.kfp_run), "state": KfpRunState.RUNNING})

    def plays(self) -> dict[str, Play]:
        """What a pod may do at its end."""
        return {
            "works": self._works,
            "starts": lambda order: None,  # and does nothing more
            "reports": self._works,  # and KFP says RUNNING for a while
            "is evicted": lambda order: failed(order, "evicted"),
            "has a bug": lambda order: failed(order, "a bug", permanent=True),
            "refuses": lambda order: refused(order, "no", {"objects": f"{order.output_uri}/objects"}),
            "is weak": self._weak,
            "breaks": self._breaks,
            "writes garbage": lambda order: b"{",
            "claims without proof": lambda order: ok(order, {"served": [], "version": "x"}),
        }

    def _works(self, order: StageRequest) -> Report:
        return self.stages.release(order) if order.stage in (Stage.DEPLOY, Stage.RESTORE) else honest(order)

    def _weak(self, order: StageRequest) -> Report:
        if order.stage is Stage.SHADOW:
            return ok(order, {"shadow": replayed(order, disagreements=200)}, {"shadow": f"{order.output_uri}/s"})
        if order.stage is not Stage.EVALUATE:
            return self._works(order)
        return ok(order, {"evaluation": measured(order, auc=0.5)}, {"evaluation": f"{order.output_uri}/e"})

    def _breaks(self, order: StageRequest) -> Report:
        if order.stage is Stage.SHADOW:
            broken = replayed(order, error="it does not load")
            return ok(order, {"shadow": broken}, {"shadow": f"{order.output_uri}/s"})
        return self.stages.break_on_load(order) if order.stage in (Stage.DEPLOY, Stage.RESTORE) else honest(order)

    # -- what is on record --------------------------------------------------------------------------------------

    def all_runs(self) -> list[Run]:
        """Every run."""
        ids = [key.pk.removeprefix("RUN#") for key in self.table.items if key.sk == "RUN"]
        return [run for run_id in ids if (run := self.onlooker.load(run_id))]
