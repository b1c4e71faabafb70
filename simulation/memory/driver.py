"""Drives a world whose process may crash once. Messages are delivered again; a lost tick is not repeated."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from simulation.memory.crash_injection import Crash, Crashing, CrashPoint
from simulation.memory.world import World
from statemachine.contracts.errors import OperationRefused
from statemachine.core.run import Run
from statemachine.core.states import State
from statemachine.core.window import Object
from statemachine.store import Store

T = TypeVar("T")


class Silence:
    """`Hints` after a crash: none is delivered again, so only ticks make progress."""

    def look_at(self, run_ids: Iterable[str]) -> None:
        """Lost."""


@dataclass
class CrashDriver:
    """One world, one process at a time, and the crash point of that process."""

    world: World
    fate: CrashPoint = field(default_factory=CrashPoint)

    def __post_init__(self) -> None:
        w, fate = self.world, self.fate
        w.wire(*(Crashing(port, fate) for port in (w.table, w.pipelines, w.files, w.hints)))

    def deliver(self, message: Callable[[], T]) -> T | None:
        """At least once: SQS and the scheduler deliver again what was not acknowledged, and so does a person."""
        try:
            return self._asked(message)
        except Crash:
            self._fresh_process()
            return self._asked(message)

    def _asked(self, message: Callable[[], T]) -> T | None:
        try:
            return message()
        except OperationRefused:
            if not self.fate.dead:
                raise
            return None  # it was done before the process died, and says so

    def land(self, *names: str) -> list[Object]:
        """Objects land, and their events come."""
        objects = [self.world.object(f"data/fraud/{name}") for name in names]
        self.world.files.listed += objects
        self.deliver(lambda: self.world.intake.arrive(objects))
        return objects

    def nightly_schedule(self, slot: str) -> None:
        """What `handlers.nightly` does."""

        self.deliver(lambda: self.world.nightly_schedule(slot))

    def minute(self) -> None:
        """One minute: pods work, the tick runs, and the reconciler looks at due runs. A crash repeats nothing."""
        self.world.now += 60
        self.world.stages.run()
        try:
            self.world.tick()
            self.world.deliver()
        except Crash:
            self._fresh_process()
        if self.fate.dead:
            for run_id in list(self.world.table.due(self.world.now)):
                self.world.reconciler.look_at(run_id)

    def until(self, reached: Callable[[], bool], minutes: int = 300) -> None:
        """Let minutes pass. Raises `AssertionError` if it is never reached."""
        for _ in range(minutes):
            if reached():
                return
            self.minute()
        found = [run for run_id in self.runs() if (run := self.load(run_id))]
        raise AssertionError(f"never reached; {[(run.id, run.state.value, run.reason) for run in found]}")

    def until_in(self, run_id: str, state: State) -> None:
        """Until the run is in that state (or over, whatever came first)."""
        self.until(lambda: (run := self.load(run_id)) is not None and (run.state is state or run.state.terminal))

    def until_rest(self, run_id: str) -> None:
        """Until the run is terminal."""
        self.until(lambda: (run := self.load(run_id)) is not None and run.state.terminal)

    def load(self, run_id: str) -> Run | None:
        """The run, as an onlooker sees it who cannot die."""
        return Store(self.world.table, str).load(run_id)

    def runs(self) -> list[str]:
        """All runs on record."""
        return sorted({key.pk.removeprefix("RUN#") for key in self.world.table.items if key.sk == "RUN"})

    def _fresh_process(self) -> None:
        w = self.world
        w.wire(w.table, w.pipelines, w.files, Silence())
        w.hints.queue.clear()
