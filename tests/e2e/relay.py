"""A relay on the wire before the cloud, whose connections can be cut in the middle of whatever they carry."""

import socket
import threading
from contextlib import suppress

from listening import Listener, shut

PIECE = 1 << 16


class Relay(Listener):
    """Carries bytes both ways between its clients and `url`, knowing nothing of what they mean."""

    def __init__(self, url):
        host, port = url.removeprefix("http://").split(":")
        self._target = (host, int(port))
        self._lock, self._open = threading.Lock(), set()
        super().__init__()

    def cut(self):
        """End every connection that is open now, both ways; how many ends there were."""
        with self._lock:
            ends = list(self._open)
        for end in ends:
            shut(end)
        return len(ends)

    def close(self):
        """Carry nothing more."""
        super().close()
        self.cut()

    def serve(self, client):
        """Both ways, until either end is closed or cut."""
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
    shut(source)
    shut(target)
