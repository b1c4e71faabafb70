"""A stand-in for AWS Lambda: runs handlers unchanged in sandboxes, under AWS's own runtime client `awslambdaric`.

A sandbox is one process and the Runtime API from which it fetches invocations. As on Lambda, the first invocation
starts it. Between invocations Lambda freezes it; here it waits. It is killed when an invocation exceeds the timeout,
and replaced after its process ends.
"""

import json
import logging
import os
import queue
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from local.process import end, spawn

log = logging.getLogger(__name__)

API = "/2018-06-01/runtime"
LOOK = 0.05  # seconds between two checks that the process runs
INIT_SECONDS = 10.0  # Lambda's own limit for the import of a handler


@dataclass(frozen=True)
class InvocationResult:
    """The payload that the handler returned, or the error object that Lambda would return."""

    payload: Any
    failed: bool = False


@dataclass(frozen=True)
class Function:
    """A Lambda function: its code and its limits. `timeout` in seconds."""

    name: str
    handler: str
    timeout: float = 30.0
    concurrency: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None


@dataclass
class Invocation:
    """One event and the result of its invocation; `answer` holds at most one result."""

    event: bytes
    deadline: float
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    answer: "queue.Queue[InvocationResult]" = field(default_factory=lambda: queue.Queue(1))

    def settle(self, result: InvocationResult) -> None:
        """Set the result. The first one counts, so a response after the timeout is ignored."""
        with suppress(queue.Full):
            self.answer.put_nowait(result)


class RuntimeApi(ThreadingHTTPServer):
    """The Runtime API: next invocation, response or error, failed init."""

    daemon_threads = True
    disable_nagle_algorithm = True

    def __init__(self, function: Function) -> None:
        super().__init__(("127.0.0.1", 0), _RuntimeRequest)
        self.function = function
        self.waiting: queue.Queue[Invocation | None] = queue.Queue()
        self.current: Invocation | None = None
        self.ready = threading.Event()
        self.init_error: Any = None
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    def close(self) -> None:
        """Stop serving, and release a client that waits for its next invocation."""
        self.waiting.put(None)
        self.shutdown()
        self.server_close()


class _RuntimeRequest(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # without it a warm invocation takes 90 ms instead of 1
    server: RuntimeApi

    def do_GET(self) -> None:
        if self.path != f"{API}/invocation/next":
            return self._reply(404)
        self.server.ready.set()
        invocation = self.server.waiting.get()
        if invocation is None:
            self.close_connection = True
            return None
        self.server.current = invocation
        return self._reply(200, invocation.event, _headers(self.server.function, invocation))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"null")
        if self.path == f"{API}/init/error":
            self.server.init_error = body
        elif (current := self.server.current) and self.path == f"{API}/invocation/{current.id}/response":
            current.settle(InvocationResult(body))
        elif current and self.path == f"{API}/invocation/{current.id}/error":
            current.settle(InvocationResult(body, failed=True))
        else:
            return self._reply(404)
        return self._reply(202)

    def _reply(self, status: int, body: bytes = b"{}", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the handlers write their own logs."""


def _headers(function: Function, invocation: Invocation) -> dict[str, str]:
    return {
        "Lambda-Runtime-Aws-Request-Id": invocation.id,
        "Lambda-Runtime-Deadline-Ms": str(int(invocation.deadline * 1000)),
        "Lambda-Runtime-Invoked-Function-Arn": f"arn:aws:lambda:us-east-1:123456789012:function:{function.name}",
        "Lambda-Runtime-Trace-Id": f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]};Sampled=0",
    }


class Sandbox:
    """One process of a function and its Runtime API. It runs one invocation at a time."""

    def __init__(self, function: Function, log_file: Path) -> None:
        self.function = function
        self._log_file = log_file
        self._api: RuntimeApi | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id, for tests that kill the process."""
        return self._process.pid if self._process else None

    def invoke(self, event: Any) -> InvocationResult:
        """Pass `event` to the handler and wait for the result. A process that has ended is replaced first."""
        if self._process is None or self._process.poll() is not None:
            failure = self._start()
            if failure:
                self.close()
                return failure
        assert self._api
        invocation = Invocation(json.dumps(event).encode(), time.time() + self.function.timeout)
        self._api.waiting.put(invocation)
        return self._await(invocation)

    def close(self) -> None:
        """End the process and its API. The next invocation starts both again."""
        if self._process:
            end(self._process, grace=1.0)
        if self._api:
            self._api.close()
        self._process = self._api = None

    def _start(self) -> InvocationResult | None:
        self.close()
        self._api = RuntimeApi(self.function)
        with self._log_file.open("ab") as log_file:
            self._process = spawn(
                [sys.executable, "-m", "awslambdaric", self.function.handler],
                log=log_file,
                environment=self._environment(self._api.server_port),
                folder=self.function.folder,
            )
        return self._initialised(time.monotonic() + INIT_SECONDS)

    def _initialised(self, until: float) -> InvocationResult | None:
        assert self._api
        assert self._process
        while not self._api.ready.wait(LOOK):
            if self._api.init_error:
                return InvocationResult(self._api.init_error, failed=True)
            if self._process.poll() is not None:
                return _exited(self._process.returncode, "init")
            if time.monotonic() > until:
                return _error("Sandbox.Timedout", f"Init did not end in {INIT_SECONDS:.2f} seconds")
        return None

    def _await(self, invocation: Invocation) -> InvocationResult:
        assert self._process
        while True:
            dead = (
                self._process.poll() is not None
            )  # checked first: a response counts that was sent just before the process ended
            with suppress(queue.Empty):
                return invocation.answer.get(timeout=LOOK)
            if dead:
                failure = _exited(self._process.returncode, invocation.id)
            elif time.time() > invocation.deadline:
                failure = _error("Sandbox.Timedout", f"Task timed out after {self.function.timeout:.2f} seconds")
            else:
                continue
            self.close()
            return failure

    def _environment(self, port: int) -> dict[str, str]:
        own = {
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
            "AWS_LAMBDA_FUNCTION_NAME": self.function.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python3.{sys.version_info.minor}",
            "LAMBDA_TASK_ROOT": str(self.function.folder or os.getcwd()),
            "_HANDLER": self.function.handler,
        }
        return {**os.environ, **self.function.environment, **own}


class Pool:
    """The sandboxes of a function, at most `concurrency`. An invocation waits for a free one."""

    def __init__(self, function: Function, logs: Path) -> None:
        self.function = function
        self._sandboxes = [Sandbox(function, logs / f"{function.name}.log") for _ in range(function.concurrency)]
        self._free: queue.LifoQueue[Sandbox] = queue.LifoQueue()  # the sandbox that was used last is warm
        for sandbox in self._sandboxes:
            self._free.put(sandbox)

    def invoke(self, event: Any) -> InvocationResult:
        """Invoke the function synchronously, as Lambda does."""
        with self._sandbox() as sandbox:
            result = sandbox.invoke(event)
        if result.failed:
            log.warning("%s failed: %s", self.function.name, json.dumps(result.payload)[:2000])
        return result

    def close(self) -> None:
        """End all sandboxes."""
        for sandbox in self._sandboxes:
            sandbox.close()

    @contextmanager
    def _sandbox(self) -> Iterator[Sandbox]:
        sandbox = self._free.get()
        try:
            yield sandbox
        finally:
            self._free.put(sandbox)


def _exited(status: int, request: str) -> InvocationResult:
    how = f"signal: {-status}" if status < 0 else f"exit status {status}"
    return _error("Runtime.ExitError", f"RequestId: {request} Error: Runtime exited with error: {how}")


def _error(kind: str, message: str) -> InvocationResult:
    return InvocationResult({"errorType": kind, "errorMessage": message}, failed=True)
