"""`night`: what the schedule does at 02:00 UTC, now."""

import json
import os
from datetime import UTC, datetime
from typing import Annotated

import boto3
import typer

from cli.connection import connect
from cli.output import Json, console, emit
from local.aws.schedule import scheduled_event
from statemachine.contracts.errors import FraudloopError


def night(
    slot: Annotated[
        str, typer.Option(help="The scheduled time, as in 2026-11-24T02:00:00Z. The same one counts once.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Invoke the nightly function: take in objects whose event never came, and ask that open windows close.

    On AWS its name is FRAUDLOOP_NIGHTLY_FUNCTION (the stack's output FraudloopNightlyFunction).
    """
    connect()
    at = datetime.fromisoformat(slot) if slot else datetime.now(UTC)
    answer = invoke(at)
    if as_json:
        return emit(answer)
    began = [run for run in answer["began"].values() if run]
    console.print(f"the night of {answer['slot']}: {', '.join(began) or 'no run begins now'}")
    if left := answer.get("unfinished"):
        console.print(f"{', '.join(left)}: the prefix is not listed to its end yet; the function goes on by itself")
    return None


def invoke(at: datetime) -> dict[str, dict[str, str]]:
    """The nightly function's answer. Raises `FraudloopError` if it failed."""
    name = os.environ.get("FRAUDLOOP_NIGHTLY_FUNCTION", "fraudloop-nightly")
    event = json.dumps(scheduled_event("fraudloop-nightly", at)).encode()
    answer = boto3.client("lambda").invoke(FunctionName=name, Payload=event)
    payload = json.load(answer["Payload"])
    if "FunctionError" in answer:
        raise FraudloopError(f"{name} failed: {payload.get('errorType')}: {payload.get('errorMessage')}")
    return dict(payload)


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(rich_help_panel="Runs")(night)
