"""A process that crashes at a chosen call of a port: before the call, or after it, so that the response is lost."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any


class Crash(BaseException):
    """`kill -9`: nothing in the process catches it."""


@dataclass
class CrashPoint:
    """Counts the calls of all ports; at call number `at` the process crashes. With `at` 0 it never does."""

    at: int = 0
    after: bool = False
    calls: list[str] = field(default_factory=list)
    dead: bool = False

    def through(self, name: str, call: Callable[[], Any]) -> Any:
        """Make the call unless the process crashes before it; do not return if it crashes after it."""
        self.calls.append(name)
        fatal = len(self.calls) == self.at
        if fatal and not self.after:
            self._die()
        answer = call()
        if isinstance(answer, Iterator):
            answer = iter(list(answer))
        if fatal:
            self._die()
        return answer

    def _die(self) -> None:
        self.dead = True
        raise Crash(f"{'after' if self.after else 'before'} call {self.at}: {self.calls[-1]}")


@dataclass(frozen=True)
class Crashing:
    """Any port, seen from a process with a fate. Its methods are whatever the port's are."""

    port: Any
    fate: CrashPoint

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        method = getattr(self.port, name)
        label = f"{type(self.port).__name__}.{name}"
        return lambda *given, **named: self.fate.through(label, lambda: method(*given, **named))
