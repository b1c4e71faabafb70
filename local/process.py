"""Child processes that cannot be orphaned: each has its own session and gets a signal when its parent exits."""

import os
import signal
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
from urllib.parse import urlsplit

import psutil

DIE_WITH_PARENT = str(Path(__file__).with_name("die_with_parent.py"))

# PR_SET_PDEATHSIG fires when the forking *thread* exits, so one long-lived thread starts all processes.
_nursery = ThreadPoolExecutor(1, thread_name_prefix="nursery")


@dataclass(frozen=True)
class Identity:
    """A process id with its start time, because the kernel reuses ids."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> "Identity":
        """Return the process that has this id now. Raises psutil.NoSuchProcess if there is none."""
        return cls(pid, psutil.Process(pid).create_time())

    def process(self) -> psutil.Process | None:
        """The process, if it still runs. A zombie does not run."""
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
    """Start `command` as the leader of a new session with its output in `log`. It is killed when this process ends."""
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
    """Ask the process to stop, wait `grace` seconds, then kill it and its process group."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def answers(url: str) -> bool:
    """Return whether an HTTP server answers at `url`, with any status."""
    with suppress(urllib.error.URLError, ConnectionError, TimeoutError):
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except urllib.error.HTTPError as error:
            error.close()
        return True
    return False


def listens(pid: int, url: str) -> bool:
    """Return whether this process, or a child of it, listens on the port of `url`. An answer may be another's."""
    port = urlsplit(url).port
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                found = one.net_connections("tcp")
                if any(c.status == psutil.CONN_LISTEN and c.laddr[1] == port for c in found):
                    return True
    return False


@contextmanager
def serving(command: Sequence[str], url: str, log: Path, seconds: float = 120.0) -> Iterator[None]:
    """Run a server during the block, which begins when it answers at `url`, and no other server in its place.

    Raises:
        ChildProcessError: the server has ended or does not answer in time; the message contains its log.
    """
    with log.open("wb") as out:
        process = spawn(command, log=out)
    try:
        until = time.monotonic() + seconds
        while not (answers(url) and listens(process.pid, url)):
            if process.poll() is not None or time.monotonic() > until:
                raise ChildProcessError(f"{' '.join(command)} does not answer at {url}:\n{log.read_text()}")
            time.sleep(0.05)
        yield
    finally:
        end(process)


def sweep(leader: Identity) -> bool:
    """Kill the processes that a dead supervisor left, with their children. Return whether there were any."""
    process = leader.process()
    if process is None:
        return False
    descendants = process.children(recursive=True)
    for one in [process, *descendants]:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs([process, *descendants], timeout=5)
    return True
