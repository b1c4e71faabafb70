"""`night`: what the schedule does at 02:00 UTC, now."""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import boto3
import typer

from cli.connection import connect
from cli.output import Json, console, emit
from local.aws.schedule import scheduled_event
from statemachine.contracts.errors import FraudloopError
from statemachine.core.events import slot as check_slot


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
    now = datetime.now(UTC)
    at = datetime.fromisoformat(check_slot({"slot": slot}, now.timestamp())) if slot else now
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
    return invoke_with(scheduled_event("fraudloop-nightly", at))


def invoke_with(event: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The nightly function's answer to such an event. Raises `FraudloopError` if it failed."""
    name = os.environ.get("FRAUDLOOP_NIGHTLY_FUNCTION", "fraudloop-nightly")
    answer = boto3.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event).encode())
    payload = json.load(answer["Payload"])
    if "FunctionError" in answer:
        raise FraudloopError(f"{name} failed: {payload.get('errorType')}: {payload.get('errorMessage')}")
    return dict(payload)


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(rich_help_panel="Runs")(night)
