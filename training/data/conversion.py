"""Conversion of objects in a process of its own, which may die of one without costing the others anything.

One process converts one object after another, so who killed it is known. It is started when the first object needs it,
and anew after a death. An object that kills it twice, panics it or takes too long is bad; the process that does not
even start is our own trouble.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from statemachine.contracts.object_kind import ObjectKind
from training.data.bounds import Bounds
from training.data.checks import Limits, Problem
from training.data.declaration import Declaration
from training.data.judging import ValidationResult, parsed
from training.data.presets import preset
from training.outcome import Permanent, Transient

WORKER = "training.data.worker"
TRIES = 2
START_SECONDS = 120.0
MEMORY_SHARE = 0.75
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
PACKAGES = str(Path(__file__).resolve().parents[2])


class _Died(Exception):
    """The process ended, or was ended, before it answered; `slow` if it was for taking too long."""

    def __init__(self, words: str, slow: bool = False) -> None:
        super().__init__(words)
        self.slow = slow


class Converter:
    """A context: leaving it ends the process."""

    def __init__(self, bounds: Bounds, scratch: Path, data: Declaration | None = None) -> None:
        self.bounds, self.scratch, self.data = bounds, scratch, data or preset()
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False
        self._starting = threading.Lock()  # downloads in other threads start it too

    def __enter__(self) -> "Converter":
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def start(self) -> None:
        """Begins to start the process, if there is none, without waiting for it."""
        with self._starting:
            if self._process is None:
                self._process, self._ready = self._started(), False

    def _started(self) -> "subprocess.Popen[bytes]":
        memory = self.bounds.conversion_memory_bytes or int(available_memory() * MEMORY_SHARE)
        command = [sys.executable, "-P", "-m", WORKER, str(memory)]  # -P: a folder `training` here is not ours
        path = os.pathsep.join(filter(None, (PACKAGES, os.environ.get("PYTHONPATH"))))
        environment = os.environ | {"PYTHONPATH": path}
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)

    def convert(
        self, raw: Path, clean: Path, limits: Limits, room: int, kind: ObjectKind = ObjectKind.DATA
    ) -> ValidationResult:
        """The verdict on a raw file, whose clean rows are then at `clean`; it may take `room` more bytes of scratch.

        Raises:
            Transient: the process does not start, or the disk is full.
            Permanent: the scratch space that the run was given is not enough for it.
        """
        bounds = replace(self.bounds, max_scratch_bytes=max(1, room))
        job: dict[str, Any] = {
            "raw": str(raw),
            "clean": str(clean),
            "scratch": str(self.scratch),
            "bounds": asdict(bounds),
        }
        job |= {"data": self.data.as_dict(), "kind": kind.value}
        job["limits"] = asdict(limits) | {"latest": limits.latest.isoformat()}
        death = ""
        for _ in range(TRIES):
            try:
                return self._verdict(self._ask(job)).cut(self.bounds)
            except _Died as died:
                death = str(died)
                if died.slow:
                    break
            finally:
                (self.scratch / f"{raw.name}.unpacked").unlink(missing_ok=True)
        return _bad(f"its conversion {death}").cut(self.bounds)

    def _verdict(self, answer: dict[str, Any]) -> ValidationResult:
        match answer:
            case {"verdict": record}:
                return parsed(record)
            case {"problem": problem}:
                return ValidationResult(0, (Problem(**problem),))
            case {"full": words}:
                raise Transient(f"the scratch disk is full: {words}")
            case {"narrow": words}:
                raise Permanent(f"max_scratch_bytes = {self.bounds.max_scratch_bytes:,} is not enough: {words}")
            case _:
                self._end()
                return _bad(f"its conversion {answer['broken']}")

    def _ask(self, job: dict[str, Any]) -> dict[str, Any]:
        self.start()
        if not self._ready:
            try:
                self._answer(START_SECONDS)
            except _Died as died:
                raise Transient(f"the process that converts objects does not start: it {died}") from died
            self._ready = True
        if self._process is not None and self._process.stdin is not None:
            with suppress(BrokenPipeError):  # it is dead, which the missing answer says
                self._process.stdin.write(json.dumps(job).encode() + b"\n")
                self._process.stdin.flush()
        return self._answer(self.bounds.conversion_seconds)

    def _answer(self, seconds: float) -> dict[str, Any]:
        """The next line that the process writes. Raises `_Died`, and then there is no process."""
        process = self._process
        if process is None or process.stdout is None:
            raise _Died("was not there")
        late = threading.Event()

        def kill() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(seconds, kill)
        timer.start()
        line = process.stdout.readline()
        timer.cancel()
        if line.endswith(b"\n"):
            answer: dict[str, Any] = json.loads(line)
            return answer
        self._end()
        if late.is_set():
            raise _Died(f"took longer than {seconds:g} s", slow=True)
        raise _Died(_ended(process.returncode))

    def _end(self) -> None:
        with self._starting:
            process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


def _bad(words: str) -> ValidationResult:
    return ValidationResult(0, (Problem(0, "", words, "an object that can be converted"),))


def _ended(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else ""
    memory = " (out of memory?)" if -status in (signal.SIGKILL, signal.SIGABRT) else ""
    return f"was killed by signal {-status} {name}{memory}"


def available_memory() -> int:
    """Bytes that this container may use, or this machine has."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in CGROUP_LIMITS:
        with suppress(OSError, ValueError):
            there = min(there, int(Path(path).read_text()))
    return there
