"""Workers that interleave: each runs until it is about to call a port, and goes on when somebody says so."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

from statemachine.contracts.errors import Conflict, Malformed, OperationRefused, Unknown, Unreachable

EXPECTED = (
    Conflict,
    Malformed,
    OperationRefused,
    Unknown,
    Unreachable,
)  # what ends a message and comes again, or is answered


class Thread(greenlet):  # type: ignore[misc]  # greenlet has no types
    """A greenlet that knows its worker."""

    worker: "Worker"


@dataclass(eq=False)
class Worker:
    """One invocation: `job` with its ports, its start, and how far its machine's clock is off."""

    name: str
    job: Callable[[], Any]
    born: float
    skew: float = 0.0
    late: bool = False  # frozen and thawed: it may go on long after its Lambda should have been killed
    done: bool = False
    failure: str = ""
    before: str = ""  # the call that it is about to make
    thread: Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = Thread(self._run)
        self.thread.worker = self
        self.step()

    def _run(self) -> None:
        try:
            self.job()
        except EXPECTED as error:
            self.failure = f"{type(error).__name__}: {error}"

    def step(self) -> None:
        """Make the call it stands before, and run to the next one."""
        self.thread.switch()
        self.done = self.thread.dead

    def finish(self) -> None:
        """Run to the end."""
        while not self.done:
            self.step()

    def kill(self) -> None:
        """`kill -9` before the call it stands before."""
        self.thread.throw(GreenletExit)
        self.done, self.failure = True, "killed"


def current() -> Worker | None:
    """Whose code this is; `None` outside of any worker."""
    thread = getcurrent()
    return thread.worker if isinstance(thread, Thread) else None


@dataclass(frozen=True)
class Yielding:
    """Any port, seen from workers that others may overtake before each of its calls."""

    port: Any
    called: Callable[[Worker, str, tuple[Any, ...]], None] = lambda worker, name, given: None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        method = getattr(self.port, name)

        def call(*given: Any, **named: Any) -> Any:
            worker = current()
            if worker is None:
                return method(*given, **named)
            worker.before = f"{type(self.port).__name__}.{name}"
            worker.thread.parent.switch()
            self.called(worker, name, given)  # also when the answer is lost
            answer = method(*given, **named)
            return iter(list(answer)) if isinstance(answer, Iterator) else answer

        return call
