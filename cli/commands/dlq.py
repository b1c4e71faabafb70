"""`dlq list|replay`: messages that no function could take."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
from rich.markup import escape

from cli.commands.nightly import invoke_with
from cli.connection import application
from cli.output import Json, console, emit, table
from cli.stack import variable
from statemachine.contracts.errors import Malformed, Misconfigured, OperationRefused, Unknown
from statemachine.core.events import hinted_run, object_created

dlq = typer.Typer(help="Messages that no function could take.", no_args_is_help=True)
QUEUES = {"arrivals": "FRAUDLOOP_ARRIVALS_QUEUE_URL", "hints": "FRAUDLOOP_HINTS_QUEUE_URL"}
NIGHTLY = "FRAUDLOOP_NIGHTLY_DLQ_URL"
OTHERS = variable("DeadLetterQueues")  # the stack's output: the URLs of all of them, by commas
READ_BY = {"arrivals": object_created, "hints": hinted_run}
HIDDEN = 20  # seconds that a listed message is invisible to the next look; it is not taken
MOST = 1000
Queue = Annotated[str, typer.Option(help="arrivals, hints, nightly, …; all of them if none is named.")]


@dlq.command("list")
def listed(queue: Queue = "", as_json: Json = False) -> None:
    """Show the messages of all dead-letter queues with the reason why they are there, without taking them."""
    sqs = application().client("sqs")
    found = list(waiting(sqs, queue))
    if as_json:
        return emit(found)
    rows = [[m["queue"], m["id"], _shown(m["reason"], 300), _shown(m["body"], 200)] for m in found]
    console.print(table(f"{len(found)} messages", ["queue", "id", "reason", "body"], rows))
    return None


@dlq.command()
def replay(queue: Queue = "", as_json: Json = False) -> None:
    """Put them back where they came from, after the cause is mended. A crash in between repeats some: that is safe.

    Arrivals, hints and nights: what the other queues hold comes again by itself, or cannot.
    """
    sqs = application().client("sqs")
    again = {name: url for name, url in _chosen(sqs, queue).items() if name in (*QUEUES, "nightly")}
    if not again:
        raise OperationRefused(f"what {queue} holds is not put back: see docs/runbook.md")
    moved = {name: _replay(sqs, name, url) for name, url in again.items()}
    if as_json:
        return emit(moved)
    console.print(", ".join(f"{count} messages back into {name}" for name, count in moved.items()))
    return None


def waiting(sqs: Any, queue: str = "") -> Iterator[dict[str, str]]:
    """The messages with the reason why they are there; they are hidden for `HIDDEN` seconds and not taken."""
    for name, url in _chosen(sqs, queue).items():
        for m in _messages(sqs, url):
            yield {"queue": name, "id": m["MessageId"], "reason": reason(name, m), "body": m["Body"]}


def counts(sqs: Any) -> dict[str, int]:
    """About how many messages each dead-letter queue holds; nothing is read or hidden."""
    what = "ApproximateNumberOfMessages"
    asked = {n: sqs.get_queue_attributes(QueueUrl=u, AttributeNames=[what]) for n, u in _chosen(sqs, "").items()}
    return {name: int(answer["Attributes"][what]) for name, answer in asked.items()}


def _replay(sqs: Any, name: str, dead: str) -> int:
    moved = 0
    for message in _messages(sqs, dead):
        if name == "nightly":
            invoke_with(_parsed(message["Body"]).get("requestPayload") or _parsed(message["Body"]))
        else:
            sqs.send_message(QueueUrl=os.environ[QUEUES[name]], MessageBody=message["Body"])
        sqs.delete_message(QueueUrl=dead, ReceiptHandle=message["ReceiptHandle"])
        moved += 1
    return moved


def reason(name: str, message: Mapping[str, Any]) -> str:
    """Why it is there, as far as whoever put it there said so, or as the message itself shows."""
    attributes = message.get("MessageAttributes", {})
    said = [attributes[key]["StringValue"] for key in ("ERROR_CODE", "ERROR_MESSAGE") if key in attributes]
    if said:  # EventBridge and Scheduler say it beside the message
        return ": ".join(said)
    body = _parsed(message["Body"])
    answer, context = body.get("responsePayload"), body.get("requestContext")
    if isinstance(answer, Mapping) and answer.get("errorMessage"):  # a Lambda destination says it inside
        return f"{answer.get('errorType', 'error')}: {answer['errorMessage']}"
    if isinstance(context, Mapping) and context.get("condition"):
        return f"{context['condition']} after {context.get('approximateInvokeCount', '?')} tries"
    try:
        READ_BY.get(name, _parsed)(message["Body"])
    except Malformed as error:
        return str(error)
    return "each try failed; the function's log says why"


def _shown(text: str, most: int) -> str:
    """Data, not markup, and nothing that a terminal would obey."""
    return escape("".join(c if c.isprintable() else " " for c in text[:most]))


def _parsed(body: str) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _chosen(sqs: Any, queue: str) -> dict[str, str]:
    """The dead-letter queues that are meant: URLs by name."""
    urls = {name: _dead_letters(sqs, name) for name in QUEUES}
    if os.environ.get(NIGHTLY):
        urls["nightly"] = os.environ[NIGHTLY]
    for url in filter(None, os.environ.get(OTHERS, "").split(",")):
        if url not in urls.values():
            urls[_name(url)] = url
    if queue and queue not in urls:
        raise Unknown(f"there is no queue {queue!r}; queues are {', '.join(urls)}")
    return {queue: urls[queue]} if queue else urls


def _name(url: str) -> str:
    """`…/prod-EventsDlq-1X2Y` → `events`."""
    last = url.rsplit("/", 1)[-1]
    known = re.search(r"([A-Z][a-z]+)Dlq", last)
    return known[1].lower() if known else last


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
    asked = {"QueueUrl": url, "MaxNumberOfMessages": 10, "VisibilityTimeout": HIDDEN, "MessageAttributeNames": ["All"]}
    for _ in range(MOST // 10):
        found = sqs.receive_message(**asked)
        if not found.get("Messages"):
            return
        yield from found["Messages"]


def register(app: typer.Typer) -> None:
    """Add this group."""
    app.add_typer(dlq, name="dlq", rich_help_panel="People")
