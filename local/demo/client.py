"""A client of the served model that never retries. It sends requests at a constant rate and counts failures."""

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TIMEOUT = 60.0  # seconds; a request without an answer by then has failed
LATE = 5.0  # seconds; a slower answer counts as late, not as failed


@dataclass(frozen=True)
class Question:
    """One request in KServe v2 JSON, and the champion's answer: output name → flat values."""

    model: str
    body: bytes
    expected: Mapping[str, list[float]]
    tolerance: float

    @classmethod
    def of_golden(cls, golden: Mapping[str, Any], model: str = "fraud_score") -> "Question":
        """Return the smallest golden request of a version to that model."""
        exchanges = [exchange for exchange in golden["exchanges"] if exchange["model"] == model] or golden["exchanges"]
        chosen = min(exchanges, key=lambda exchange: sum(len(tensor["data"]) for tensor in exchange["inputs"]))
        expected = {tensor["name"]: tensor["data"] for tensor in chosen["outputs"]}
        body = json.dumps({"inputs": chosen["inputs"], "outputs": [{"name": name} for name in expected]}).encode()
        return cls(chosen["model"], body, expected, float(golden["tolerance"]))

    def wrong(self, status: int, body: bytes) -> str:
        """Return how an answer differs from the champion's; "" if it does not."""
        if status != 200:
            return f"status {status}: {body[:200].decode(errors='replace')}"
        outputs = {tensor["name"]: tensor["data"] for tensor in json.loads(body)["outputs"]}
        for name, values in self.expected.items():
            if not _equal(outputs.get(name), values, self.tolerance):
                return f"another answer: {name} is {str(outputs.get(name))[:80]}, not {str(values)[:80]}"
        return ""


def _equal(found: Any, expected: list[Any], tolerance: float) -> bool:
    if not isinstance(found, list) or len(found) != len(expected):
        return False
    pairs = zip(found, expected, strict=True)
    return all(abs(a - b) <= tolerance if isinstance(b, float) else a == b for a, b in pairs)


class Client:
    """Sends `question` to `url` `rate` times a second over several connections, without retries, until it is closed.

    A request that is late is sent all the same, so slow answers cannot hide behind a lower rate.
    """

    def __init__(self, url: str, question: Question, rate: float = 25.0, connections: int = 4) -> None:
        self.requests = 0
        self.failures: Counter[str] = Counter()
        self.latencies: list[float] = []
        self._url, self._question = url.removeprefix("http://"), question
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._began = self._due = time.monotonic()
        self._pause = 1 / rate
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(connections)]
        for thread in self._threads:
            thread.start()

    @property
    def failed(self) -> int:
        """The number of requests with no answer, an error or another answer."""
        return self.failures.total()

    @property
    def per_second(self) -> float:
        """Requests per second so far."""
        return self.requests / max(1e-9, time.monotonic() - self._began)

    @property
    def late(self) -> int:
        """The number of answers that took longer than `LATE`."""
        return sum(seconds > LATE for seconds in list(self.latencies))

    def slowest(self, share: float = 0.99) -> float:
        """Return the seconds within which this share of the answers arrived."""
        return sorted(self.latencies)[int(share * (len(self.latencies) - 1))] if self.latencies else 0.0

    def reach(self, requests: int, seconds: float) -> None:
        """Wait until this many requests were sent, at most `seconds`."""
        until = time.monotonic() + seconds
        while self.requests < requests and time.monotonic() < until:
            time.sleep(0.1)

    def close(self) -> None:
        """Stop sending."""
        self._stop.set()
        for thread in self._threads:
            thread.join(TIMEOUT + 1)

    def _run(self) -> None:
        connection = http.client.HTTPConnection(self._url, timeout=TIMEOUT)
        while not self._stop.wait(max(0.0, self._turn() - time.monotonic())):
            self._ask(connection)
        connection.close()

    def _turn(self) -> float:
        """Return the time of the next request. Each is returned once."""
        with self._lock:
            self._due += self._pause
            return self._due

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        began = time.monotonic()
        try:
            failure = self._question.wrong(*self._exchange(connection))
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            failure = f"{type(error).__name__}: {error}"
            connection.close()  # it reconnects for the next request
        with self._lock:
            self.requests += 1
            self.latencies.append(time.monotonic() - began)
            if failure:
                self.failures[failure] += 1

    def _exchange(self, connection: http.client.HTTPConnection) -> tuple[int, bytes]:
        path = f"/v2/models/{self._question.model}/infer"
        connection.request("POST", path, self._question.body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
