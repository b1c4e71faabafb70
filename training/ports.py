"""Ports on loopback for servers that have to be told theirs before they start.

Between the choice of a port and the server's own `bind`, the kernel may give the same number to a server that asked for
any (`bind` to port 0) or to an outgoing connection. So these ports lie below the range from which kernels choose
(`ip_local_port_range`: 32768 on Linux), and a lock keeps two processes of one user from the same port.
"""

import fcntl
import os
import random
import socket
import tempfile
import threading
from collections import deque
from pathlib import Path

LOOPBACK = "127.0.0.1"
PORTS = range(20_000, 30_000)  # NodePorts of Kubernetes begin at 30000
HELD = 1_000  # by one process; it then gives back the one it chose first


class Reservations:
    """The ports that one process holds. Each is a locked byte of `file` (`fcntl` record locks), until the process ends.

    A process must have one object for a file: to close a file gives up all its locks (POSIX).
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor = -1
        self._held: deque[int] = deque()
        self._lock = threading.Lock()

    def take(self) -> int:
        """Return a port on which nobody listens, and which no other process takes from here while this one runs.

        Raises:
            OSError: none is left.
        """
        with self._lock:
            if self._descriptor < 0:
                self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            for port in random.sample(PORTS, len(PORTS)):
                if port not in self._held and self._locked(port):
                    self._held.append(port)
                    if len(self._held) > HELD:
                        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, self._held.popleft())
                    return port
        raise OSError(f"no port from {PORTS.start} to {PORTS.stop - 1} of {LOOPBACK} is free")

    def _locked(self, port: int) -> bool:
        """Lock a port that can be bound. Return whether this was possible."""
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        except OSError:
            return False
        if not bindable(port):
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, port)
            return False
        return True


def bindable(port: int) -> bool:
    """Whether nothing on loopback uses this port now."""
    with socket.socket() as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


_OURS = Reservations(Path(tempfile.gettempdir()) / f"fraudloop-ports-{os.getuid()}")


def free_port() -> int:
    """Return a port on loopback that is free, and that no other process gets from this function while this one runs."""
    return _OURS.take()
