"""The whole system in memory: ports, a clock, workers that lose and repeat hints, pods that play their stages."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from simulation.memory.files import MemoryFiles
from simulation.memory.kfp import MemoryPipelines
from simulation.memory.stages import Stages
from simulation.memory.table import MemoryTable
from statemachine.core.approval import subject_digest
from statemachine.core.policy import IntakePolicy, Policy
from statemachine.core.run import Run, Trigger
from statemachine.core.window import Object
from statemachine.intake import Intake
from statemachine.listing import PrefixListing
from statemachine.operations import Operations
from statemachine.reconciler import Reconciler
from statemachine.store import Store

BUCKET = "data"


@dataclass
class MemoryHints:
    """`Hints` in a deque: an SQS without its delays."""

    queue: deque[str] = field(default_factory=deque)

    def look_at(self, run_ids: Iterable[str]) -> None:
        """Keep each."""
        self.queue.extend(run_ids)


@dataclass
class World:
    """One model `fraud` (or more) and everything around it. `now` is turned by hand."""

    policies: dict[str, Policy] = field(
        default_factory=lambda: {"fraud": Policy("fraud", "data/fraud/", root="s3://artifacts", intake=IntakePolicy())}
    )
    now: float = 1_795_586_400.0  # 2026-11-25T06:00:00Z
    ids: int = 0

    def __post_init__(self) -> None:
        self.table = MemoryTable()
        self.files = MemoryFiles()
        self.hints = MemoryHints()
        self.pipelines = MemoryPipelines(self.clock)
        self.stages = Stages(self.pipelines, self.files, self.clock)
        self.wire(self.table, self.pipelines, self.files, self.hints)

    def wire(self, table: Any, pipelines: Any, files: Any, hints: Any) -> None:
        """Build the controller on these ports, which a test may have wrapped."""
        self.store = Store(table, self.new_id)
        self.intake = Intake(self.store, self.policies, BUCKET, self.clock, self.new_id, lambda attempt: None, "code")
        self.listing = PrefixListing(self.intake, files, self.clock)
        self.reconciler = Reconciler(
            self.store, self.intake, pipelines, files, hints, self.policies, self.clock, lambda: 0.5, self.new_id
        )
        self.operations = Operations(self.store, self.intake, files, hints, self.policies, self.clock, self.new_id)

    def clock(self) -> float:
        """Seconds since the epoch."""
        return self.now

    def new_id(self) -> str:
        """Ids in order, so that a failing example reads well."""
        self.ids += 1
        return f"{self.ids:012x}"

    def approve(self, run_id: str, who: str = "ann", why: str = "it looks good") -> Run:
        """A person says yes to what the run would deploy as it stands."""
        return self.operations.approve(run_id, subject_digest(self.store.run(run_id)), why, who)

    # -- what happens outside -----------------------------------------------------------------------------------

    def land(self, *names: str, model: str = "fraud", **more: Any) -> list[Object]:
        """Objects land in S3, and their events are taken in."""
        objects = [self.object(f"{self.policies[model].prefix}{name}", **more) for name in names]
        self.files.listed += objects
        self.intake.arrive(objects)
        return objects

    def object(self, key: str, **more: Any) -> Object:
        """One write of a key."""
        self.ids += 1
        given = {"etag": f"etag-{key}", "size": 10, "sequencer": f"{self.ids:x}", "arrived_at": self.now}
        return Object(bucket=BUCKET, key=key, **{**given, **more})

    def nightly_schedule(self, slot: str) -> None:
        """What `handlers.nightly` does, in one invocation."""
        for model in self.policies:
            self.listing.go_on(model, slot)
            if self.intake.ask(model, Trigger("nightly", slot, f"the nightly run of {slot}"), slot=slot):
                self.intake.close_due(model)

    def tick(self) -> int:
        """The minute's tick: what `handlers.tick` does; returns its metric `UnreachableRuns`."""
        self.hints.look_at(list(self.store.table.due(self.now)))
        unreachable = 0
        for model in self.policies:
            _, runs = self.intake.tend_slots(model)
            if run := self.intake.close_due(model, self.intake.window(model)):
                self.hints.look_at([run.id])
            unreachable += sum(bool(run.unreachable_count) for run in runs)
        return unreachable

    def deliver(self, limit: int = 1000) -> None:
        """Look at every run that is hinted at."""
        while self.hints.queue and limit:
            self.reconciler.look_at(self.hints.queue.popleft())
            limit -= 1

    def minute(self, seconds: float = 60) -> None:
        """A minute passes: pods work, the tick ticks, hints are delivered."""
        self.now += seconds
        self.stages.run()
        self.tick()
        self.deliver()

    def until_rest(self, run_id: str, minutes: int = 400) -> Run:
        """Let time pass until the run is terminal. Raises `AssertionError` if it never is."""
        for _ in range(minutes):
            run = self.store.load(run_id)
            if run and run.state.terminal:
                return run
            self.minute()
        raise AssertionError(f"{run_id} does not end: {self.store.load(run_id)}")
