"""The warm process that forks every run. It imports `kfp` once (≈ 0.9 s), so a run starts in milliseconds.

It reads one JSON order per line from stdin and reports on stdout: `{"ready"}`, `{"started", "pid"}`, `{"ended",
"code"}`.
It has one thread, which makes forking safe. When stdin closes, the server has died, and every run is ended. A run whose
worker was killed kills its own process group. So neither case leaves orphans.
"""

import ctypes
import json
import os
import select
import signal
import sys
from contextlib import suppress
from typing import Any

PR_SET_PDEATHSIG = 1
CHUNK = 1 << 16


def main() -> None:
    """Execute orders until stdin closes."""
    from local.kfp import execution  # the expensive import, before the first fork

    wake, poke = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(poke)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    runs: dict[int, str] = {}
    _report(ready=True)
    pending = b""
    while True:
        readable, _, _ = select.select([0, wake], [], [])
        if wake in readable:
            os.read(wake, CHUNK)
            _reap(runs)
        if 0 in readable:
            read = os.read(0, CHUNK)
            if not read:
                break
            *lines, pending = (pending + read).split(b"\n")
            for line in lines:
                _start(json.loads(line), runs, execution)
    for pid in runs:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def _start(order: dict[str, Any], runs: dict[int, str], execution: Any) -> None:
    worker, (grouped, grouping) = os.getpid(), os.pipe()
    pid = os.fork()
    if pid == 0:
        _become_run(order, worker, grouping, execution)
    os.close(grouping)
    os.read(grouped, 1)  # returns when the run leads its own process group, so that the group can be ended
    os.close(grouped)
    runs[pid] = order["run_id"]
    _report(started=order["run_id"], pid=pid)


def _become_run(order: dict[str, Any], worker: int, grouping: int, execution: Any) -> None:
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        os.close(grouping)
        # The death signal ends only this process; a handler ends the whole group with the component's process.
        signal.signal(signal.SIGUSR1, lambda *_: os.killpg(0, signal.SIGKILL))
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGUSR1)
        if os.getppid() != worker:
            os._exit(1)
        _redirect(order["log"])
        code = execution.run(order)
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _redirect(log: str) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for source, target in ((nothing, 0), (out, 1), (out, 2)):
        os.dup2(source, target)


def _reap(runs: dict[int, str]) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid in runs:
            _report(ended=runs.pop(pid), pid=pid, code=os.waitstatus_to_exitcode(status))


def _report(**message: Any) -> None:
    with suppress(BrokenPipeError):
        os.write(1, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
