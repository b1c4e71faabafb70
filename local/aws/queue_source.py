"""A stand-in for Lambda's SQS event source: receives batches, invokes the handler, deletes what it took."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from local.aws.lambda_runtime import InvocationResult

log = logging.getLogger(__name__)

Invoke = Callable[[Any], InvocationResult]
SQS_MOST = 10  # messages in one request, SQS's own limit
WAIT = 2  # seconds of long polling; a stop is noticed within it


class QueueSource:
    """One poller of one queue.

    A message that is not deleted comes back after the queue's visibility timeout; SQS itself moves it to the
    dead-letter queue once it was received `maxReceiveCount` times.
    """

    def __init__(self, sqs: Any, url: str, arn: str, invoke: Invoke, batch: int = 10) -> None:
        self._sqs, self._url, self._arn, self._invoke, self._batch = sqs, url, arn, invoke, batch

    def run(self, stop: threading.Event) -> None:
        """Poll until `stop` is set; an error of the queue is logged and tried again."""
        while not stop.is_set():
            try:
                self.once(WAIT)
            except Exception as error:  # noqa: BLE001 — a source outlives whatever one round of it dies of
                if not stop.wait(1):
                    log.warning("polling %s: %s", self._arn, error)

    def once(self, wait: int = 0) -> int:
        """One batch, if there is one; the number of messages that it held."""
        received = self._receive(wait)
        if received:
            result = self._invoke({"Records": [self._record(message) for message in received]})
            kept = refused(result, [message["MessageId"] for message in received])
            self._delete([message for message in received if message["MessageId"] not in kept])
        return len(received)

    def _receive(self, wait: int) -> list[Mapping[str, Any]]:
        """Up to a batch: what is there now. Lambda's pollers fill theirs likewise, by receiving ten at most at a time.

        They also wait for the rest of a batching window; here that time is cut, like the time between two ticks.
        """
        found: list[Mapping[str, Any]] = []
        while len(found) < self._batch:
            most = min(SQS_MOST, self._batch - len(found))
            more = self._sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=most,
                WaitTimeSeconds=0 if found else wait,
                AttributeNames=["All"],
            ).get("Messages", [])
            found += more
            if len(more) < most:  # no more is there
                break
        return found

    def _record(self, message: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message.get("Attributes", {}),
            "messageAttributes": {},
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": self._arn,
            "awsRegion": self._arn.split(":")[3],
        }

    def _delete(self, messages: Sequence[Mapping[str, Any]]) -> None:
        if messages:
            entries = [{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(messages)]
            for first in range(0, len(entries), SQS_MOST):
                self._sqs.delete_message_batch(QueueUrl=self._url, Entries=entries[first : first + SQS_MOST])


def refused(result: InvocationResult, identifiers: Sequence[str]) -> frozenset[str]:
    """Those of a batch that the handler did not take, by Lambda's rules for `ReportBatchItemFailures`.

    A failed invocation refuses all; so does an answer that names an unknown item or is none. An empty one takes all.
    """
    everything = frozenset(identifiers)
    if result.failed:
        return everything
    if result.payload is None:
        return frozenset()
    failures = result.payload.get("batchItemFailures") if isinstance(result.payload, dict) else [None]
    named = [str(f.get("itemIdentifier")) if isinstance(f, dict) else "" for f in failures or []]
    return frozenset(named) if everything.issuperset(named) else everything
