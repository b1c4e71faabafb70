"""How much memory the system takes: the proportional set size of a process and all its descendants, sampled."""

import os
import threading
from contextlib import suppress
from pathlib import Path

import psutil

EVERY = 2.0  # seconds


class Peak:
    """The largest sum seen since it was made, in bytes."""

    def __init__(self) -> None:
        self.bytes = 0
        self._stop = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        """Sample no more."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(EVERY):
            self.bytes = max(self.bytes, total())


def total() -> int:
    """Bytes that this process and its descendants use now, shared pages divided among those who share them."""
    us = psutil.Process(os.getpid())
    return sum(_proportional(process.pid) for process in [us, *us.children(recursive=True)])


def _proportional(pid: int) -> int:
    with suppress(OSError, ValueError, StopIteration):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) * 1024
    return 0
