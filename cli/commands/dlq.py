"""`dlq list|replay`: messages that no function could take."""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from cli.connection import application
from cli.output import Json, console, emit, table
from statemachine.contracts.errors import Misconfigured, Unknown

dlq = typer.Typer(help="Messages that no function could take.", no_args_is_help=True)
QUEUES = {"arrivals": "FRAUDLOOP_ARRIVALS_QUEUE_URL", "hints": "FRAUDLOOP_HINTS_QUEUE_URL"}
HIDDEN = 20  # seconds that a listed message is invisible to the next look; it is not taken
MOST = 1000
Queue = Annotated[str, typer.Option(help="arrivals or hints; both if none is named.")]


@dlq.command("list")
def listed(queue: Queue = "", as_json: Json = False) -> None:
    """Show the messages, without taking them. Their bodies say what could not be understood or done."""
    sqs = application().client("sqs")
    found = [(name, m) for name in _names(queue) for m in _messages(sqs, _dead_letters(sqs, name))]
    if as_json:
        return emit([{"queue": name, "id": m["MessageId"], "body": m["Body"]} for name, m in found])
    rows = [[name, m["MessageId"], m["Body"][:200]] for name, m in found]
    console.print(table(f"{len(found)} messages", ["queue", "id", "body"], rows))
    return None


@dlq.command()
def replay(queue: Queue = "", as_json: Json = False) -> None:
    """Put them back where they came from, after the cause is mended. A crash in between repeats some: that is safe."""
    sqs = application().client("sqs")
    moved = {name: _replay(sqs, name) for name in _names(queue)}
    if as_json:
        return emit(moved)
    console.print(", ".join(f"{count} messages back into {name}" for name, count in moved.items()))
    return None


def _replay(sqs: Any, name: str) -> int:
    dead, moved = _dead_letters(sqs, name), 0
    for message in _messages(sqs, dead):
        sqs.send_message(QueueUrl=os.environ[QUEUES[name]], MessageBody=message["Body"])
        sqs.delete_message(QueueUrl=dead, ReceiptHandle=message["ReceiptHandle"])
        moved += 1
    return moved


def _names(queue: str) -> list[str]:
    if queue and queue not in QUEUES:
        raise Unknown(f"there is no queue {queue!r}; queues are {', '.join(QUEUES)}")
    return [queue] if queue else list(QUEUES)


def _dead_letters(sqs: Any, name: str) -> str:
    """The URL of the queue's dead-letter queue, as its redrive policy names it."""
    url = os.environ.get(QUEUES[name])
    if not url:
        raise Misconfigured(f"{QUEUES[name]} is not set: the URL of the {name} queue, an output of the stack")
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"]).get("Attributes", {})
    target = json.loads(attributes.get("RedrivePolicy", "{}")).get("deadLetterTargetArn")
    if not target:
        raise Misconfigured(f"the {name} queue has no dead-letter queue: {url}")
    return str(sqs.get_queue_url(QueueName=target.rsplit(":", 1)[-1])["QueueUrl"])


def _messages(sqs: Any, url: str) -> Iterator[Mapping[str, Any]]:
    for _ in range(MOST // 10):
        found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=HIDDEN)
        if not found.get("Messages"):
            return
        yield from found["Messages"]


def register(app: typer.Typer) -> None:
    """Add this group."""
    app.add_typer(dlq, name="dlq", rich_help_panel="People")
