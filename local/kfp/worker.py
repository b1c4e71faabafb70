"""The warm process from which every run is forked: `kfp` is imported once (≈ 0.9 s), a run then starts in milliseconds.

It reads one JSON order a line from stdin and says on stdout what became of it: `{"ready"}`, `{"started", "pid"}`,
`{"ended", "code"}`. It has one thread, which makes forking safe. The end of stdin means that the server has died: then
every run dies with it. A run whose worker has been killed kills its own group, so no orphan is left either way.
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
    """Serve orders until stdin ends."""
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
    os.read(grouped, 1)  # returns when the run leads a group of its own, so that it can be ended as one
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
        # The death signal ends this process only; a handler ends the whole group, the component's process with it.
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
