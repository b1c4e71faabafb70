"""A relay on the wire before the cloud, whose connections can be cut in the middle of whatever they carry."""

import socket
import threading
from contextlib import suppress

PIECE = 1 << 16


class Relay:
    """Carries bytes both ways between its clients and `url`, knowing nothing of what they mean."""

    def __init__(self, url):
        host, port = url.removeprefix("http://").split(":")
        self._target = (host, int(port))
        self._lock, self._open = threading.Lock(), set()
        self._server = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self):
        """End every connection that is open now, both ways; how many ends there were."""
        with self._lock:
            ends = list(self._open)
        for end in ends:
            _shut(end)
        return len(ends)

    def close(self):
        """Carry nothing more."""
        _shut(self._server)
        self._server.close()
        self.cut()

    def _accept(self):
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client):
        with client, suppress(OSError), socket.create_connection(self._target) as server:
            with self._lock:
                self._open |= {client, server}
            back = threading.Thread(target=_pump, args=(server, client), daemon=True)
            back.start()
            _pump(client, server)
            back.join()
            with self._lock:
                self._open -= {client, server}


def _pump(source, target):
    with suppress(OSError):
        while piece := source.recv(PIECE):
            target.sendall(piece)
    _shut(source)
    _shut(target)


def _shut(end):
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
