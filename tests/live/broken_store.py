"""A proxy in front of a Valkey, and servers that answer with an error: what a store does when it is not well."""

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Proxy:
    """Passes bytes on; `delay` seconds before each answer, or one byte of an answer each `trickle` seconds."""

    def __init__(self, port: int) -> None:
        self.target, self.delay, self.trickle = port, 0.0, 0.0
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), self._handler(), bind_and_activate=True)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Accept no more connections."""
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[socketserver.BaseRequestHandler]:
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection(("127.0.0.1", proxy.target), timeout=30) as there, suppress(OSError):
                    back = threading.Thread(target=proxy._back, args=(there, self.request), daemon=True)
                    back.start()
                    while sent := self.request.recv(65_536):
                        there.sendall(sent)

        return Handler

    def _back(self, there: socket.socket, here: socket.socket) -> None:
        with suppress(OSError):
            while sent := there.recv(65_536):
                time.sleep(self.delay)
                for part in [sent[at : at + 1] for at in range(len(sent))] if self.trickle else [sent]:
                    here.sendall(part)
                    time.sleep(self.trickle)


@contextmanager
def answering(line: bytes, after: int = 1) -> Iterator[int]:
    """A server that answers PONG `after` times on a connection, then always `line`; yields its port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            told = 0
            with suppress(OSError):
                while sent := self.request.recv(65_536):
                    for _ in range(max(1, sent.count(b"CLIENT")) if b"CLIENT" in sent else 1):
                        setup = b"CLIENT" in sent
                        self.request.sendall(b"+OK\r\n" if setup else b"+PONG\r\n" if told < after else line)
                        told += 0 if setup else 1

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()
