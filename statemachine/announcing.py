"""What the table's stream tells people and metrics. The stream is the outbox: what was not written is not told."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from boto3.dynamodb.types import TypeDeserializer

from statemachine.core import codec
from statemachine.core.run import Entry

DESERIALIZE = TypeDeserializer().deserialize


@dataclass(frozen=True)
class Step:
    """One line of history as it came through the stream."""

    model: str
    entry: Entry


def step(record: Mapping[str, Any]) -> Step | None:
    """The line of history that a stream record inserts; `None` for any other record. Raises `Malformed`."""
    image = record.get("dynamodb", {}).get("NewImage")
    if record.get("eventName") != "INSERT" or not image or image.get("type") != {"S": "entry"}:
        return None
    item = {name: DESERIALIZE(value) for name, value in image.items()}
    return Step(str(item["model"]), codec.loads(Entry, str(item["body"]), int(item.get("format", 0))))
