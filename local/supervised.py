"""The restart policy of the local system's parts.

As a kubelet does, it doubles the pause before a restart with each death. Unlike a kubelet it stops: after too many
deaths of a part the whole system ends, with the reason.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Protocol

LOOK = 0.2  # seconds between two checks
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0  # seconds before a restart
DEATHS, WINDOW = 6, 120.0  # this many deaths within this many seconds end the system


class Parts(Protocol):
    """The supervised processes; `local.system.System` is one."""

    def names(self) -> Sequence[str]:
        """Return the parts in the order of their start."""

    def ended(self, part: str) -> str:
        """Return how a part ended by itself; "" while it runs."""

    def revive(self, part: str) -> str:
        """Restart a part. Return the error if that failed, else ""."""


class Supervisor:
    """Restarts parts from `start` to `stop`. `say` receives a line about each death and restart."""

    def __init__(self, parts: Parts, say: Callable[[str], object]) -> None:
        self.stopping = threading.Event()
        self.failure = ""  # why the system ends; "" while it runs
        self._parts, self._say = parts, say
        self._deaths: dict[str, list[float]] = defaultdict(list)
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        """Start to supervise."""
        self._thread.start()

    def stop(self) -> None:
        """Stop to supervise. Nothing is restarted any more."""
        self.stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self.failure and not self.stopping.wait(LOOK):
            self.look()

    def look(self) -> None:
        """Restart the first part that has ended; the parts that start after it need it."""
        for part in self._parts.names():
            if how := self._parts.ended(part):
                return self._bring_back(part, how)
        return None

    def _bring_back(self, part: str, how: str) -> None:
        now = time.monotonic()
        deaths = self._deaths[part] = [at for at in self._deaths[part] if now - at < WINDOW] + [now]
        if len(deaths) >= DEATHS:
            self.failure = f"{part} ended {len(deaths)} times within {WINDOW:.0f} s; the last time: {how}"
            return
        self._say(f"{part} has ended ({how}); it is started again")
        if self.stopping.wait(min(FIRST_PAUSE * 2 ** (len(deaths) - 1), LONGEST_PAUSE)):
            return
        error = self._parts.revive(part)
        self._say(f"{part} did not start: {error}" if error else f"{part} runs again")
