"""A proxy on the wire between the unmodified adapters and their servers, that fails as networks and servers do."""

import socket
import struct
import time
from collections import deque
from enum import Enum
from typing import Any

from listening import Listener

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST


class Fault(Enum):
    """What befalls one request."""

    NONE = "none"
    SLOW = "slow"
    RESET_BEFORE = "reset before the request"
    RESET_AFTER = "reset after the request: done, and the answer lost"
    HALF_ANSWER = "half an answer"
    UNAVAILABLE = "503"
    THROTTLED = "429"


class Proxy(Listener):
    """Forwards one HTTP request a connection to `target`, and does to it what `faults` says next."""

    def __init__(self, target):
        self.target, self.requests = target, 0
        self.faults: deque[Any] = deque()
        self.always = Fault.NONE
        super().__init__()

    def serve(self, client):
        """One request, and what befalls it."""
        with client:
            client.settimeout(20)
            request = self._request(client)
            if not request:
                return
            self.requests += 1
            fault = self.faults.popleft() if self.faults else self.always
            self._befall(client, request, fault)

    def _befall(self, client, request, fault):
        if fault is Fault.RESET_BEFORE:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            return
        if fault in (Fault.UNAVAILABLE, Fault.THROTTLED):
            client.sendall(f"HTTP/1.1 {fault.value} Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            return
        if fault is Fault.SLOW:
            time.sleep(0.3)
        answer = self._ask(request)
        if fault is Fault.RESET_AFTER:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            return
        client.sendall(
            answer[: len(answer) - max(1, self._body(answer) // 2)] if fault is Fault.HALF_ANSWER else answer
        )

    def _body(self, answer):
        return len(answer.split(b"\r\n\r\n", 1)[1])

    def _request(self, client):
        """The whole request, with `Connection: close`, so that its answer ends with the connection."""
        raw = b""
        try:
            while b"\r\n\r\n" not in raw:
                part = client.recv(65536)
                if not part:
                    return b""
                raw += part
            head, body = raw.split(b"\r\n\r\n", 1)
            lines = head.split(b"\r\n")
            fields = {line.split(b":", 1)[0].strip().lower(): line.split(b":", 1)[1].strip() for line in lines[1:]}
            if fields.get(b"expect", b"").lower() == b"100-continue":
                client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            while len(body) < int(fields.get(b"content-length", b"0")):
                body += client.recv(65536)
        except OSError:
            return b""
        kept = [line for line in lines if line.split(b":", 1)[0].lower() not in (b"connection", b"expect")]
        return b"\r\n".join([*kept, b"Connection: close"]) + b"\r\n\r\n" + body

    def _ask(self, request):
        answer = b""
        with socket.create_connection(self.target, timeout=20) as upstream:
            upstream.sendall(request)
            while part := upstream.recv(65536):
                answer += part
        head, body = answer.split(b"\r\n\r\n", 1)
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
        return b"\r\n".join([*lines, b"Connection: close"]) + b"\r\n\r\n" + body
