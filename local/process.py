"""Child processes that cannot be orphaned: each has its own session and gets a signal when its parent exits."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

DIE_WITH_PARENT = str(Path(__file__).with_name("die_with_parent.py"))

# Linux takes the death of the *thread* that forked for the parent's, so one thread that lives as long as we do forks.
_nursery = ThreadPoolExecutor(1, thread_name_prefix="nursery")


@dataclass(frozen=True)
class Identity:
    """A process beyond its number, which the kernel gives away again: with the second that it was started."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> "Identity":
        """The process that has this number now. Raises psutil.NoSuchProcess if none has."""
        return cls(pid, psutil.Process(pid).create_time())

    def process(self) -> psutil.Process | None:
        """The very process, if it still runs (a zombie does not)."""
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.started) < 1 and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None


def spawn(
    command: Sequence[str],
    *,
    log: IO[Any] | int,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start `command` as the leader of a new session, both its outputs going to `log`; it is killed when we die."""
    leashed = [sys.executable, "-I", "-S", DIE_WITH_PARENT, str(os.getpid()), *command]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            leashed,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(os.environ if environment is None else environment),
            cwd=folder,
            start_new_session=True,
        )

    return _nursery.submit(start).result()


def end(process: subprocess.Popen[bytes], grace: float = 5.0) -> None:
    """Ask the process to stop, wait `grace` seconds, then kill it and all of its group."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def answers(url: str) -> bool:
    """Something speaks HTTP there, whatever it says."""
    with suppress(urllib.error.URLError, ConnectionError, TimeoutError):
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except urllib.error.HTTPError as error:
            error.close()
        return True
    return False


@contextmanager
def serving(command: Sequence[str], url: str, log: Path, seconds: float = 120.0) -> Iterator[None]:
    """Run a server for as long as the block lasts, which begins when it answers at `url`.

    Raises:
        ChildProcessError: it has ended or does not answer in time; the message carries its log.
    """
    with log.open("wb") as out:
        process = spawn(command, log=out)
    try:
        until = time.monotonic() + seconds
        while not answers(url):
            if process.poll() is not None or time.monotonic() > until:
                raise ChildProcessError(f"{' '.join(command)} does not answer at {url}:\n{log.read_text()}")
            time.sleep(0.05)
        yield
    finally:
        end(process)


def sweep(leader: Identity) -> bool:
    """Kill what a supervisor that has died left running, its children too; True if there was anything."""
    process = leader.process()
    if process is None:
        return False
    descendants = process.children(recursive=True)
    for one in [process, *descendants]:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs([process, *descendants], timeout=5)
    return True


def free_port() -> int:
    """A port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
