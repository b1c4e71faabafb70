"""A TCP server for tests: each connection to a free port of loopback gets a thread of its own."""

import socket
import threading
from contextlib import suppress


class Listener:
    """Accepts until it is closed, and leaves each connection to `serve`."""

    def __init__(self):
        self._server = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def serve(self, client):
        """One connection, in a thread of its own."""
        raise NotImplementedError

    def close(self):
        """Accept nothing more."""
        shut(self._server)
        self._server.close()
        self._accepting.join(5)

    def _accept(self):
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()


def shut(end):
    """End a connection (or a listening socket) both ways, if it is not ended yet."""
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
