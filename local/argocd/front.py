"""The Service: one stable port that forwards requests to the ready pod and switches between two requests."""

import http.client
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from training.ports import LOOPBACK

ANSWER_SECONDS = 60.0
HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "host", "content-length"})


class Front:
    """An HTTP proxy that forwards each request to the current target.

    The proxy holds the client's connection, so the connection outlives a switch. A pod is released after its last
    response.
    """

    def __init__(self, port: int) -> None:
        self._lock = threading.Condition()
        self._target = 0
        self._in_flight: Counter[int] = Counter()
        self._server = _Server((LOOPBACK, port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="front", daemon=True)

    @property
    def port(self) -> int:
        """The port for clients."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Accept requests. Without a target they get 503."""
        self._thread.start()

    def stop(self) -> None:
        """Accept no more requests."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()

    def switch(self, port: int, patience: float = ANSWER_SECONDS) -> None:
        """Forward new requests to `port` (0: nowhere). Returns after the old target's last response."""
        with self._lock:
            old, self._target = self._target, port
            if old != port:
                self._lock.wait_for(lambda: not self._in_flight[old], patience)

    def enter(self) -> int:
        """Begin a request and return the port that will answer it."""
        with self._lock:
            self._in_flight[self._target] += 1
            return self._target

    def leave(self, port: int) -> None:
        """End a request."""
        with self._lock:
            self._in_flight[port] -= 1
            self._lock.notify_all()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], front: Front) -> None:
        super().__init__(address, _ProxyHandler)
        self.front = front


class _ProxyHandler(BaseHTTPRequestHandler):
    """One client's connection, with its own connection to the pod."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def setup(self) -> None:
        super().setup()
        self._pod: http.client.HTTPConnection | None = None

    def finish(self) -> None:
        super().finish()
        self._hang_up()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        port = self.server.front.enter()
        try:
            self._answer(*self._ask(port, body))
        finally:
            self.server.front.leave(port)

    do_GET = do_POST  # noqa: N815 (the name that http.server calls)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: one line per request would hide the rest."""

    def _ask(self, port: int, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        if not port:
            return 503, [], b'{"error": "no version is served yet"}'
        try:
            return self._forward(port, body)
        except (OSError, http.client.HTTPException):
            self._hang_up()  # the pod had closed this connection; a prediction may be sent twice
        try:
            return self._forward(port, body)
        except (OSError, http.client.HTTPException) as error:
            return 502, [], f'{{"error": "the pod did not answer: {type(error).__name__}"}}'.encode()

    def _forward(self, port: int, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        if self._pod is None or self._pod.port != port:
            self._hang_up()
            self._pod = http.client.HTTPConnection(LOOPBACK, port, timeout=ANSWER_SECONDS)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        self._pod.request(self.command, self.path, body, headers)
        answer = self._pod.getresponse()
        return answer.status, answer.getheaders(), answer.read()

    def _hang_up(self) -> None:
        if self._pod is not None:
            self._pod.close()
            self._pod = None

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
