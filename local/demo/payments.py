"""A stream of payments that `fraud_live` scores throughout the demo."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from clients.scoring import InvalidTransaction, NotScored, Score, ScoringClient

RATE = 4.0  # payments a second
DEADLINE, ATTEMPT = 60.0, 10.0  # seconds: the demo's two cores carry everything


@dataclass(frozen=True)
class PaymentAnswer:
    """The answer to payment number `number`, and when it was asked for and had, in seconds since the epoch."""

    number: int
    asked: float
    answered: float
    score: Score


class PaymentStream:
    """Sends payments in their order, one after another, until it is closed or they are all sent."""

    def __init__(self, url: str, lines: Sequence[str], rate: float = RATE) -> None:
        self.lines, self.answers = lines, list[PaymentAnswer]()
        self.failures: list[str] = []
        self._url, self._pause, self._stop = url, 1 / rate, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop after the present payment."""
        self._stop.set()
        self._thread.join(DEADLINE + 1)

    def _run(self) -> None:
        with ScoringClient.of(self._url, deadline=DEADLINE, attempt=ATTEMPT) as client:
            for number, line in enumerate(self.lines):
                asked = time.time()
                try:
                    score = client.score(line, f"demo-{number}")
                    self.answers.append(PaymentAnswer(number, asked, time.time(), score))
                except (InvalidTransaction, NotScored) as error:
                    self.failures.append(f"{type(error).__name__}: {error}")
                if self._stop.wait(max(0.0, asked + self._pause - time.time())):
                    return
