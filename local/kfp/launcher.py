"""Starts runs as processes and reports their end. The processes are forked by a warm worker (`local.kfp.worker`)."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import psutil

from local import process
from local.kfp.layout import ERROR

LONGEST_WAIT = 30.0  # seconds before a worker that failed to start is started again
LONGEST_REASON = 500
LOG = logging.getLogger("local.kfp")


class Listener(Protocol):
    """Receives the start and end of each run, on the launcher's own thread."""

    def started(self, run_id: str, leader: process.Identity) -> None:
        """The run has a process, which leads its own process group."""

    def ended(self, run_id: str, code: int) -> None:
        """The run's process and all processes in its group have ended."""


class Launcher:
    """Executes at most `parallelism` runs at once, one process each. Further runs wait.

    The worker reads orders from a pipe of this process. When this process ends, the pipe closes and all runs end.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], parallelism: int, grace: float) -> None:
        self._folder, self._environment = folder, dict(environment)
        self._parallelism, self._grace = parallelism, grace
        self._lock = threading.RLock()
        self._waiting: deque[dict[str, Any]] = deque()
        self._running: dict[str, int] = {}  # run → process group, 0 until the worker has reported it
        self._orders: dict[str, dict[str, Any]] = {}
        self._stillborn = 0  # consecutive workers that died before they were ready
        self._doomed: set[str] = set()
        self._worker: subprocess.Popen[bytes] | None = None
        self._stopping = self._warm = False

    def open(self, listener: Listener) -> None:
        """Start the worker. It is ready after about a second; earlier orders wait in its pipe."""
        self._listener = listener
        self._stopping = False
        self._start_worker()

    def submit(self, order: dict[str, Any]) -> None:
        """Execute a run: `run_id`, `folder`, `spec`, `arguments`, `root` and `log`."""
        with self._lock:
            self._waiting.append(order)
            self._feed()

    def terminate(self, run_id: str) -> None:
        """Ask a run's process group to end, and kill it after the grace period. The listener is called as usual."""
        with self._lock:
            for order in [one for one in self._waiting if one["run_id"] == run_id]:
                self._waiting.remove(order)
                threading.Thread(target=self._listener.ended, args=(run_id, -signal.SIGTERM), daemon=True).start()
            self._doomed.add(run_id)
            group = self._running.get(run_id, 0)
        if group:
            self._end(group)

    def close(self) -> None:
        """End the worker and every run."""
        with self._lock:
            self._stopping = True
            worker, self._worker = self._worker, None
            warm = self._warm
        if worker is None or worker.stdin is None:
            return
        with suppress(BrokenPipeError):
            worker.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            worker.wait(
                10 if warm else 0
            )  # a worker that still imports has no runs, and would notice the closed pipe only seconds later
        worker.kill()
        self._reader.join(10)

    def _start_worker(self) -> None:
        with open(self._folder / "worker.log", "ab") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "local.kfp.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment,
                start_new_session=True,  # Ctrl-C reaches the worker through us
            )
        self._worker, self._warm = worker, False
        self._reader = threading.Thread(target=self._listen, args=(worker,), name="kfp-launcher", daemon=True)
        self._reader.start()

    def _feed(self) -> None:
        while self._worker is not None and self._waiting and len(self._running) < self._parallelism:
            order = self._waiting.popleft()
            self._running[order["run_id"]] = 0
            self._orders[order["run_id"]] = order
            if self._worker.stdin is None:
                return
            with suppress(
                BrokenPipeError, ValueError
            ):  # then its reader has noticed the end, or will, and fails the run
                self._worker.stdin.write(json.dumps(order).encode() + b"\n")
                self._worker.stdin.flush()

    def _listen(self, worker: subprocess.Popen[bytes]) -> None:
        assert worker.stdin is not None
        assert worker.stdout is not None
        for line in worker.stdout:
            message = json.loads(line)
            if "started" in message:
                self._has_started(message["started"], message["pid"])
            elif "ended" in message:
                self._has_ended(message["ended"], message["code"])
            else:
                self._warm, self._stillborn = True, 0
        code = worker.wait()
        with suppress(BrokenPipeError):
            worker.stdin.close()
        worker.stdout.close()
        self._worker_is_gone(code)

    def _has_started(self, run_id: str, pid: int) -> None:
        with self._lock:
            self._running[run_id] = pid
            doomed = run_id in self._doomed
        with suppress(psutil.NoSuchProcess):
            self._listener.started(run_id, process.Identity.of(pid))
        if doomed:
            self._end(pid)

    def _has_ended(self, run_id: str, code: int) -> None:
        with self._lock:
            group = self._running.pop(run_id, 0)
            self._orders.pop(run_id, None)
            self._doomed.discard(run_id)
            self._feed()
        if group:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)  # a component's process may outlive its run
        self._listener.ended(run_id, code)

    def _worker_is_gone(self, code: int) -> None:
        """Fail its runs and start another worker. If it failed to import, record the error and let the next one
        wait.
        """
        with self._lock:
            failed, stopping, warm = dict.fromkeys(self._running), self._stopping, self._warm
            orders = [self._orders[run_id] for run_id in failed if run_id in self._orders]
        if stopping:
            orders = []
        elif warm:
            LOG.error("the worker is gone; %d runs with it", len(failed))
            self._start_unless_stopping()
        else:
            message = f"the worker cannot start (status {code}): {self._last_words()}"
            LOG.error("%s", message)
            for order in orders:
                (Path(order["folder"]) / ERROR).write_text(message, encoding="utf-8")
            self._start_later()
        for run_id in failed:
            self._has_ended(run_id, -signal.SIGKILL)

    def _start_unless_stopping(self) -> None:
        with self._lock:
            if not self._stopping:
                self._start_worker()
                self._feed()

    def _start_later(self) -> None:
        with self._lock:
            self._worker = None
            self._stillborn += 1
            timer = threading.Timer(min(2.0**self._stillborn / 2, LONGEST_WAIT), self._start_unless_stopping)
        timer.daemon = True
        timer.start()

    def _last_words(self) -> str:
        lines = (self._folder / "worker.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1][:LONGEST_REASON] if lines else "it printed nothing"

    def _end(self, group: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGTERM)
        timer = threading.Timer(self._grace, self._kill, args=(group,))
        timer.daemon = True
        timer.start()

    def _kill(self, group: int) -> None:
        with self._lock:
            ours = group in self._running.values()  # otherwise the id may already belong to another process
            if ours:
                with suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGKILL)
