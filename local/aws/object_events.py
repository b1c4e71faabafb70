"""Gives moto's S3 events what AWS's events have in addition: a unique id and a `sequencer` that increases."""

import itertools
import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

log = logging.getLogger(__name__)

WAIT = 2  # seconds of long polling


class ObjectEvents:
    """Moves "Object Created" events from moto's queue to the arrivals queue, in order."""

    def __init__(self, sqs: Any, source: str, target: str) -> None:
        self._sqs, self._source, self._target = sqs, source, target
        self._sequencer = sequencer()

    def run(self, stop: threading.Event) -> None:
        """Move events until `stop` is set."""
        while not stop.is_set():
            try:
                self.once(WAIT)
            except Exception as error:  # noqa: BLE001 — a source outlives whatever one round of it dies of
                if not stop.wait(1):
                    log.warning("forwarding S3 events: %s", error)

    def once(self, wait: int = 0) -> int:
        """Move one batch and return its size. Delivery is at least once, as on S3: a crash repeats events."""
        received = self._sqs.receive_message(QueueUrl=self._source, MaxNumberOfMessages=10, WaitTimeSeconds=wait)
        messages = received.get("Messages", [])
        for message in messages:
            body = json.dumps(realistic(json.loads(message["Body"]), self._sequencer))
            self._sqs.send_message(QueueUrl=self._target, MessageBody=body)
            self._sqs.delete_message(QueueUrl=self._source, ReceiptHandle=message["ReceiptHandle"])
        return len(messages)


def realistic(event: Mapping[str, Any], sequencer: Callable[[], str]) -> dict[str, Any]:
    """Return `event` with values made unique that moto leaves constant, and `etag` where moto writes `eTag`."""
    obj = {("etag" if name == "eTag" else name): value for name, value in event["detail"]["object"].items()}
    detail = event["detail"] | {
        "object": obj | {"sequencer": sequencer()},
        "request-id": uuid.uuid4().hex[:16].upper(),
    }
    return {**event, "id": str(uuid.uuid4()), "detail": detail}


def sequencer() -> Callable[[], str]:
    """Return a source of hexadecimal strings. Each is greater than the one before, also after a restart."""
    numbers = itertools.count(time.time_ns())
    return lambda: f"00{next(numbers):016X}"
