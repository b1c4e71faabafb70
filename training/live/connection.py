"""A connection to the online store that never lets a payment wait past its deadline.

Payments use a connection that is there; a thread of its own makes one, and a new one after each failure. Without one a
payment is answered at once. A connection is used only after it has answered a PING in time, so a store that is down,
slow or loading costs at most one deadline, not one for each payment.
"""

import logging
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

import libvalkey
import valkey

from training.live.settings import LiveSettings

LOG = logging.getLogger("fraudloop.live")
CONNECT_SECONDS = 2.0
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0  # seconds between two attempts to connect
CHUNK = 65_536
Command = Sequence[bytes | str | int | float]
# What the store's errors begin with: https://valkey.io/topics/protocol/#simple-errors
REASONS = {
    "OOM": "full",
    "MISCONF": "full",
    "LOADING": "loading",
    "BUSY": "slow",
    "READONLY": "failing over",
    "MOVED": "failing over",
    "ASK": "failing over",
    "TRYAGAIN": "failing over",
    "CLUSTERDOWN": "failing over",
    "MASTERDOWN": "failing over",
    "UNBLOCKED": "failing over",
    "NOREPLICAS": "failing over",
    "NOAUTH": "refused",
    "WRONGPASS": "refused",
    "NOPERM": "refused",
}
LEAVING = frozenset({"failing over", "loading", "refused"})  # another connection may lead elsewhere


class Unavailable(Exception):
    """The store did not answer in time, or refused; the message is the reason in a word or two, as DEGRADED says it."""


class StoreConnection:
    """One connection for one thread of payments; `close` ends it and its thread."""

    def __init__(self, settings: LiveSettings) -> None:
        self._settings = settings
        self._live: Any = None
        self._reason = "down"
        self._wanted, self._closed = threading.Event(), threading.Event()
        self._connected = threading.Event()
        self._wanted.set()
        self._thread = threading.Thread(target=self._keep, name="online-store", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait until there is a connection, at most so long; returns whether there is one."""
        return self._connected.wait(seconds)

    def call(self, until: float, commands: Sequence[Command]) -> list[Any]:
        """Send commands together and return their answers, errors among them as `libvalkey.ReplyError`.

        `until` is on `time.monotonic`.

        Raises:
            Unavailable: there is no connection, or no answer in time.
        """
        live = self._live
        if live is None:
            raise Unavailable(self._reason)
        if time.monotonic() >= until:  # nothing was sent, so the connection is as good as it was
            raise Unavailable("slow")
        try:
            return _exchange(live._sock, commands, until)  # valkey-py has no call with a deadline of its own
        except TimeoutError:
            raise self._drop("slow") from None
        except (OSError, EOFError, libvalkey.ProtocolError):
            raise self._drop("down") from None

    def refused(self, error: Exception) -> Unavailable:
        """What an error of the store means. The connection is given up if another may lead elsewhere."""
        reason = REASONS.get(str(error).partition(" ")[0], "error")
        if reason == "error":
            LOG.error("the online store answers: %s", str(error)[:300])
        return self._drop(reason) if reason in LEAVING else Unavailable(reason)

    def close(self) -> None:
        """End the thread and the connection."""
        self._closed.set()
        self._wanted.set()
        self._thread.join(CONNECT_SECONDS + 1)
        self._drop("closed")

    def _drop(self, reason: str) -> Unavailable:
        self._connected.clear()
        live, self._live, self._reason = self._live, None, reason
        if live is not None:
            live.disconnect()
        self._wanted.set()
        return Unavailable(reason)

    def _keep(self) -> None:
        pause = FIRST_PAUSE
        while self._wanted.wait() and not self._closed.is_set():
            made = self._attempt()
            if made is None:
                self._closed.wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            pause = FIRST_PAUSE
            self._wanted.clear()
            self._live = made
            self._connected.set()

    def _attempt(self) -> Any:
        """A connection that answered a PING in time; None if there is none, with the reason."""
        made: Any = None
        try:
            pool: Any = valkey.ConnectionPool
            made = pool.from_url(
                self._settings.url,
                password=self._settings.password or None,
                socket_connect_timeout=CONNECT_SECONDS,
                socket_timeout=CONNECT_SECONDS,
            ).make_connection()
            made.connect()
            (pong,) = _exchange(made._sock, [["PING"]], time.monotonic() + self._settings.deadline_ms / 1000)
            if not isinstance(pong, Exception):
                return made
            self._reason = REASONS.get(str(pong).partition(" ")[0], "error")
        except TimeoutError:
            self._reason = "slow"
        except (valkey.AuthenticationError, valkey.exceptions.AuthorizationError):
            self._reason = "refused"
        except valkey.BusyLoadingError:
            self._reason = "loading"
        except (OSError, EOFError, ValueError, valkey.ValkeyError, libvalkey.LibvalkeyError):
            self._reason = "down"
        if made is not None:
            made.disconnect()
        return None


def _exchange(sock: socket.socket, commands: Sequence[Command], until: float) -> list[Any]:
    """Send commands and read their answers before `until`. Raises TimeoutError, EOFError, OSError."""
    answers: list[Any] = []
    reader = libvalkey.Reader()
    sock.settimeout(_left(until))
    sock.sendall(b"".join(libvalkey.pack_command(tuple(command)) for command in commands))
    while len(answers) < len(commands):
        sock.settimeout(_left(until))
        received = sock.recv(CHUNK)
        if not received:
            raise EOFError
        reader.feed(received)
        while (answer := reader.gets()) is not False:
            answers.append(answer)
    return answers


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
