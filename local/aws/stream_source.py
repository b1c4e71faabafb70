"""A stand-in for Lambda's event source on a table's stream: records in order, retries, then a dead-letter queue."""

import json
import logging
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any

from local.aws.lambda_runtime import InvocationResult
from local.aws.queue_source import refused
from local.aws.template import EventSource

log = logging.getLogger(__name__)

POLL = 0.5  # seconds


class StreamSource:
    """Reads the one shard of a moto stream. `to_dead_letter` receives a record that was refused on all tries."""

    def __init__(
        self,
        streams: Any,
        stream_arn: str,
        invoke: Callable[[Any], InvocationResult],
        to_dead_letter: Callable[[str], object],
        source: EventSource,
    ) -> None:
        self._streams, self._arn, self._invoke, self._to_dead_letter, self._source = (
            streams,
            stream_arn,
            invoke,
            to_dead_letter,
            source,
        )
        self._last: str | None = None
        self._attempts = 0

    def run(self, stop: threading.Event) -> None:
        """Read until `stop` is set. Errors of the stream are logged and retried."""
        while not stop.is_set():
            try:
                received = self.once()
            except Exception as error:  # noqa: BLE001 — a source outlives whatever one round of it dies of
                log.warning("reading %s: %s", self._arn, error)
                received = 0
            if not received:
                stop.wait(POLL)

    def once(self) -> int:
        """Process one batch, if there is one, and return the number of records that are done."""
        records = self._next()
        if not records:
            return 0
        numbers = [record["dynamodb"]["SequenceNumber"] for record in records]
        left = refused(self._invoke({"Records": records}), numbers)
        done = next((n for n, number in enumerate(numbers) if number in left), len(numbers))
        if done:
            self._last, self._attempts = numbers[done - 1], 0
        if done < len(numbers):
            done += self._again(records[done])
        return done

    def _again(self, record: dict[str, Any]) -> int:
        self._attempts += 1
        if self._attempts <= self._source.retries:
            return 0
        self._to_dead_letter(json.dumps(record))
        self._last, self._attempts = record["dynamodb"]["SequenceNumber"], 0
        return 1

    def _next(self) -> list[dict[str, Any]]:
        # A new iterator each time: an iterator from before a rolled-back transaction reads moto's discarded copy.
        shard = self._streams.describe_stream(StreamArn=self._arn)["StreamDescription"]["Shards"][0]
        where = (
            {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": self._last}
            if self._last and int(self._last) >= int(shard["SequenceNumberRange"]["StartingSequenceNumber"])
            else {"ShardIteratorType": "TRIM_HORIZON"}
        )
        iterator = self._streams.get_shard_iterator(StreamArn=self._arn, ShardId=shard["ShardId"], **where)
        found = self._streams.get_records(ShardIterator=iterator["ShardIterator"], Limit=self._source.batch)["Records"]
        return [_record(record, self._arn) for record in found]


def _record(record: dict[str, Any], stream_arn: str) -> dict[str, Any]:
    """Return the record as Lambda passes it: times in seconds, and the stream's ARN."""
    created: datetime = record["dynamodb"]["ApproximateCreationDateTime"]
    change = record["dynamodb"] | {"ApproximateCreationDateTime": created.timestamp()}
    return record | {"dynamodb": change, "eventSourceARN": stream_arn}
