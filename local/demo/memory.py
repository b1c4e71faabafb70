"""Samples how much memory the system uses: the proportional set size of a process and its descendants."""

import os
import threading

from local import footprint

EVERY = 2.0  # seconds


class Peak:
    """The largest sample so far, in bytes."""

    def __init__(self) -> None:
        self.bytes = 0
        self._stop = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        """Stop sampling."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(EVERY):
            self.bytes = max(self.bytes, footprint.memory(os.getpid()))
