"""A stand-in for Lambda's SQS event source: receives batches, invokes the handler, deletes processed messages."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from local.aws.lambda_runtime import InvocationResult

log = logging.getLogger(__name__)

Invoke = Callable[[Any], InvocationResult]
SQS_MOST = 10  # messages per request, SQS's own limit
WAIT = 2  # seconds of long polling; `stop` is noticed within this time


class QueueSource:
    """One poller of one queue.

    A message that is not deleted becomes visible again after the queue's visibility timeout. SQS itself moves it to the
    dead-letter queue after `maxReceiveCount` receives.
    """

    def __init__(self, sqs: Any, url: str, arn: str, invoke: Invoke, batch: int = 10) -> None:
        self._sqs, self._url, self._arn, self._invoke, self._batch = sqs, url, arn, invoke, batch

    def run(self, stop: threading.Event) -> None:
        """Poll until `stop` is set. Errors of the queue are logged and retried."""
        while not stop.is_set():
            try:
                self.once(WAIT)
            except Exception as error:  # noqa: BLE001 — a source outlives whatever one round of it dies of
                if not stop.wait(1):
                    log.warning("polling %s: %s", self._arn, error)

    def once(self, wait: int = 0) -> int:
        """Process one batch, if there is one, and return its size."""
        received = self._receive(wait)
        if received:
            result = self._invoke({"Records": [self._record(message) for message in received]})
            refused_messages = refused(result, [message["MessageId"] for message in received])
            self._delete([message for message in received if message["MessageId"] not in refused_messages])
        return len(received)

    def _receive(self, wait: int) -> list[Mapping[str, Any]]:
        """Receive up to a batch of messages that are visible now, ten at most per request, as Lambda's pollers do.

        Lambda also waits for a batching window. This poller does not, because time between ticks is shortened here,
        too.
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
            if len(more) < most:  # the queue has no more messages
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
    """Return the messages that the handler did not process, by Lambda's rules for `ReportBatchItemFailures`.

    All are refused if the invocation failed, or if the response is malformed or names an unknown item. An empty
    response accepts all.
    """
    everything = frozenset(identifiers)
    if result.failed:
        return everything
    if result.payload is None:
        return frozenset()
    failures = result.payload.get("batchItemFailures") if isinstance(result.payload, dict) else [None]
    named = [str(f.get("itemIdentifier")) if isinstance(f, dict) else "" for f in failures or []]
    return frozenset(named) if everything.issuperset(named) else everything
