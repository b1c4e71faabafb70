"""A stand-in for Lambda's Invoke API, so that `boto3.client("lambda").invoke(…)` reaches the local functions."""

import json
import logging
import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from local.aws.lambda_runtime import InvocationResult

log = logging.getLogger(__name__)

Invoke = Callable[[Any], InvocationResult]
PATH = re.compile(r"/2015-03-31/functions/([^/]+)/invocations")
RETRY_AFTER = (1.0, 2.0)  # seconds; Lambda itself waits one and two minutes before its retries


class Asynchronous:
    """Lambda's queue of asynchronous invocations: two retries, then `to_dead_letter` receives the event."""

    def __init__(self, to_dead_letter: Callable[[str], object], retry_after: tuple[float, ...] = RETRY_AFTER) -> None:
        self._to_dead_letter, self._retry_after = to_dead_letter, retry_after
        self._workers = ThreadPoolExecutor(4, thread_name_prefix="asynchronous")

    def submit(self, name: str, invoke: Invoke, event: Any) -> None:
        """Queue an invocation and return at once."""
        self._workers.submit(self._deliver, name, invoke, event)

    def close(self) -> None:
        """Discard the queued invocations."""
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _deliver(self, name: str, invoke: Invoke, event: Any) -> None:
        for pause in (*self._retry_after, None):
            result = invoke(event)
            if not result.failed:
                return
            if pause is not None:
                time.sleep(pause)
        self._to_dead_letter(json.dumps({"function": name, "requestPayload": event, "responsePayload": result.payload}))


class InvokeApi(ThreadingHTTPServer):
    """Serves `POST /2015-03-31/functions/{name}/invocations`. `X-Amz-Invocation-Type: Event` gets 202 at once."""

    daemon_threads = True

    def __init__(self, port: int, functions: Mapping[str, Invoke], asynchronous: Asynchronous) -> None:
        super().__init__(("127.0.0.1", port), _InvokeRequest)
        self.functions = functions
        self.asynchronous = asynchronous
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()


class _InvokeRequest(BaseHTTPRequestHandler):
    server: InvokeApi

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        match = PATH.fullmatch(self.path.split("?")[0])
        name = unquote(match[1]).split(":")[-1] if match else ""
        invoke = self.server.functions.get(name)
        if invoke is None:
            return self._reply(404, {"Type": "User", "Message": f"Function not found: {name}"}, _NOT_FOUND)
        event = json.loads(body or b"{}")
        if self.headers.get("X-Amz-Invocation-Type") == "Event":
            self.server.asynchronous.submit(name, invoke, event)
            return self._reply(202, None)
        result = invoke(event)
        return self._reply(200, result.payload, {"X-Amz-Function-Error": "Unhandled"} if result.failed else {})

    def _reply(self, status: int, payload: Any, headers: Mapping[str, str] | None = None) -> None:
        body = b"" if status == 202 else json.dumps(payload).encode()
        self.send_response(status)
        for name, value in {"x-amzn-RequestId": str(uuid.uuid4()), **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the handlers write their own logs."""


_NOT_FOUND = {"X-Amzn-ErrorType": "ResourceNotFoundException"}
