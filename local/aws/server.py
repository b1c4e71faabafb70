"""A stand-in for AWS: moto's server on loopback, one request at a time.

Its state is in memory and is lost at its end, unless it has a folder: `python -m local.aws.server PORT [FOLDER]`.

moto checks a write's condition and writes in two steps, so two threads could both find the condition true. One lock
per request makes conditional writes and transactions atomic. No request may hold the lock while it waits for a
message, so this module turns long polling into short polls.
"""

import io
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import BaseWSGIServer, make_server

from local.aws import resources
from local.aws.retention import copy_tables_cheaply, forget_old
from local.aws.state import CloudState

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Wsgi = Callable[[Environ, StartResponse], Iterable[bytes]]

RECEIVE = "AmazonSQS.ReceiveMessage"
SENDS_NOTHING = ("DynamoDB", RECEIVE, "AmazonSQS.DeleteMessage", "AmazonSQS.Get")  # by X-Amz-Target
GET_RECORDS = "DynamoDBStreams_20120810.GetRecords"
POLL = 0.5  # seconds between two polls of an empty queue without new messages: a message may become visible again


class Answer:
    """A response that was collected under the lock and is sent after it."""

    def __init__(self, app: Wsgi, environ: Environ) -> None:
        self.head: tuple[Any, ...] = ()
        self.body = b"".join(app(environ, self._collect))

    def _collect(self, *head: Any) -> None:
        self.head = head


class OneAtATime:
    """WSGI middleware: reads a request, handles it under the lock, and sends the response without the lock."""

    def __init__(self, app: Wsgi, state: CloudState | None = None) -> None:
        self._app, self._state = app, state
        self._lock = threading.Lock()
        self._news = threading.Condition()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        body = _read(environ)
        receiving = environ.get("HTTP_X_AMZ_TARGET") == RECEIVE
        answer = self._receive(environ, body) if receiving else self._answer(environ, body)
        if _may_send(environ):
            with self._news:
                self._news.notify_all()
        start_response(*answer.head)
        return [answer.body]

    def _answer(self, environ: Environ, body: bytes) -> Answer:
        request = environ | {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        request.pop("HTTP_TRANSFER_ENCODING", None)
        with self._lock:
            answer = Answer(self._app, request)
            if self._state is not None and environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
                _record(self._state)
            if environ.get("HTTP_X_AMZ_TARGET") == GET_RECORDS:
                forget_old()
            return answer

    def _receive(self, environ: Environ, body: bytes) -> Answer:
        request = json.loads(body)
        until = time.monotonic() + min(int(request.get("WaitTimeSeconds") or 0), 20)
        at_once = json.dumps(request | {"WaitTimeSeconds": 0}).encode()
        while True:
            with self._news:  # held during the poll, so that a message sent meanwhile wakes us
                answer = self._answer(environ, at_once)
                left = until - time.monotonic()
                if b'"MessageId"' in answer.body or not answer.head[0].startswith("200") or left <= 0:
                    return answer
                self._news.wait(min(left, POLL))


def _may_send(environ: Environ) -> bool:
    """Whether the request may send a message: directly, or through S3's events and EventBridge's rules."""
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    return environ["REQUEST_METHOD"] not in ("GET", "HEAD") and not target.startswith(SENDS_NOTHING)


def _read(environ: Environ) -> bytes:
    stream = environ["wsgi.input"]
    if environ.get("wsgi.input_terminated"):
        return bytes(stream.read())
    return bytes(stream.read(int(environ.get("CONTENT_LENGTH") or 0)))


def _record(state: CloudState) -> None:
    """Record what a request has changed, or end the process: no response may precede its record."""
    try:
        state.record()
    except Exception:
        logging.getLogger(__name__).exception("the cloud's state cannot be written; the process ends")
        os._exit(1)


def make(port: int = 0, state: CloudState | None = None) -> BaseWSGIServer:
    """Return the server, bound to 127.0.0.1 but not yet serving. Port 0 selects a free one; `state` records every
    change.
    """
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # werkzeug logs every request otherwise
    copy_tables_cheaply()
    app = OneAtATime(DomainDispatcherApplication(create_backend_app), state)
    return make_server("127.0.0.1", port, app, threaded=True, request_handler=MotoRequestHandler)


def serving(port: int = 0) -> AbstractContextManager[str]:
    """Run the cloud in a thread of this process and yield its URL."""
    return served(make(port))


@contextmanager
def served(server: BaseWSGIServer) -> Iterator[str]:
    """Run any WSGI server in a thread of this process and yield its URL."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def main(port: int, folder: Path | None = None) -> None:
    """Serve until killed. With a folder, its state is loaded before the port answers."""
    if folder is None:
        return make(port).serve_forever()
    state = CloudState(folder)
    with serving() as private:
        resources.create(private)
    state.load()
    return make(port, state).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), *map(Path, sys.argv[2:]))
