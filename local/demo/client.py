"""A client of the served model that never retries: it asks at a steady rate and counts what went wrong."""

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TIMEOUT = 5.0  # seconds; a slower answer is a failure


@dataclass(frozen=True)
class Question:
    """One request in KServe v2 JSON, and the answer that the champion gives: output name → flat values."""

    model: str
    body: bytes
    expected: Mapping[str, list[float]]
    tolerance: float

    @classmethod
    def of_golden(cls, golden: Mapping[str, Any], model: str = "fraud_score") -> "Question":
        """The smallest golden request of a version to that model."""
        asked = [exchange for exchange in golden["exchanges"] if exchange["model"] == model] or golden["exchanges"]
        chosen = min(asked, key=lambda exchange: sum(len(tensor["data"]) for tensor in exchange["inputs"]))
        expected = {tensor["name"]: tensor["data"] for tensor in chosen["outputs"]}
        body = json.dumps({"inputs": chosen["inputs"], "outputs": [{"name": name} for name in expected]}).encode()
        return cls(chosen["model"], body, expected, float(golden["tolerance"]))

    def wrong(self, status: int, body: bytes) -> str:
        """What is wrong with an answer; "" if it is the champion's."""
        if status != 200:
            return f"status {status}: {body[:200].decode(errors='replace')}"
        told = {tensor["name"]: tensor["data"] for tensor in json.loads(body)["outputs"]}
        for name, values in self.expected.items():
            if not _equal(told.get(name), values, self.tolerance):
                return f"another answer: {name} is {str(told.get(name))[:80]}, not {str(values)[:80]}"
        return ""


def _equal(found: Any, expected: list[Any], tolerance: float) -> bool:
    if not isinstance(found, list) or len(found) != len(expected):
        return False
    pairs = zip(found, expected, strict=True)
    return all(abs(a - b) <= tolerance if isinstance(b, float) else a == b for a, b in pairs)


@dataclass
class Client:
    """Asks `question` at `url` `rate` times a second, in a thread, until it is closed. Late ones are not dropped."""

    url: str
    question: Question
    rate: float = 25.0
    requests: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._connection: http.client.HTTPConnection | None = None
        self.began = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="client", daemon=True)
        self._thread.start()

    @property
    def failed(self) -> int:
        """How many requests got no answer, an error or another answer."""
        return self.failures.total()

    @property
    def per_second(self) -> float:
        """Requests a second, so far."""
        return self.requests / max(1e-9, time.monotonic() - self.began)

    def reach(self, requests: int, seconds: float) -> None:
        """Wait until so many requests were made, at most `seconds`."""
        until = time.monotonic() + seconds
        while self.requests < requests and time.monotonic() < until:
            time.sleep(0.1)

    def close(self) -> None:
        """Ask no more."""
        self._stop.set()
        self._thread.join(TIMEOUT + 1)
        self._hang_up()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due += 1 / self.rate
            self._ask()

    def _ask(self) -> None:
        began = time.monotonic()
        try:
            trouble = self.question.wrong(*self._exchange())
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            trouble = f"{type(error).__name__}: {error}"
            self._hang_up()
        self.requests += 1
        self.latencies.append(time.monotonic() - began)
        if trouble:
            self.failures[trouble] += 1

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _exchange(self) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=TIMEOUT)
        path = f"/v2/models/{self.question.model}/infer"
        self._connection.request("POST", path, self.question.body, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        return answer.status, answer.read()
