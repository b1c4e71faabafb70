"""`status`: what serves, what runs, what waits for a person, and what is wrong. The first command to type."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from cli import stack
from cli.commands import dlq
from cli.commands.status_report import lines, model_status
from cli.connection import application, known, local_home
from cli.explain import sentence
from cli.output import Json, Markup, clock, console, emit, facts, quoted
from clients import scheduler
from local.state_dir import StateDir
from statemachine.bootstrap import App
from statemachine.contracts.errors import Unknown

HERE = "not asked here: the local system has none"


def status(
    model: Annotated[str, typer.Option(help="Only this model's.")] = "",
    as_json: Json = False,
) -> None:
    """Say what serves and how it was verified, what runs, what waits for a person, and what is wrong.

    Example: `fraudloop status`
    """
    home = local_home()
    app, now = application(), time.time()
    models = [model_status(app, name) for name in ([known(app, model)] if model else app.policies)]
    around = deployment_status(app, home, now)
    if as_json:
        return emit({"models": models, **around})
    for each in models:
        console.print(facts(Markup(f"[bold]{quoted(each['model'])}[/]"), list(lines(each, now))))
    console.print(facts(Markup("[bold]the deployment[/]"), list(_around(around))))
    return None


def deployment_status(app: App, home: StateDir | None, now: float) -> dict[str, Any]:
    """Dead letters, the next night, alarms and the parts of a local system; what does not answer says so."""
    return {
        "dead_letters": asked(lambda: dlq.counts(app.client("sqs"))),
        "next_night": HERE if home else asked(lambda: _next_night(app, now)),
        "alarms": HERE if home else asked(lambda: _alarms(app)),
        "parts": home.parts() if home else {},
    }


def asked(question: Callable[[], Any]) -> Any:
    """The answer, or why there is none: one broken API hides no other."""
    try:
        return question()
    except Exception as error:
        told = sentence(error)
        if told is None:
            raise
        return f"not known: {told}"


def _next_night(app: App, now: float) -> str:
    name = os.environ.get("FRAUDLOOP_NIGHTLY_SCHEDULE", "fraudloop-night")
    try:
        found = scheduler.get(app.client("scheduler"), name)
    except Unknown:
        return f"not known: there is no EventBridge schedule {name}; FRAUDLOOP_NIGHTLY_SCHEDULE names yours"
    if found["State"] != "ENABLED":
        return f"off: the schedule {name} is disabled; `fraudloop schedule list` says who keeps the night"
    return next_daily(str(found["ScheduleExpression"]), now)


def next_daily(expression: str, now: float) -> str:
    """When `cron(M H * * ? *)` fires next, in UTC; any other expression as it is."""
    fields = expression.removeprefix("cron(").removesuffix(")").split()
    if fields[2:] != ["*", "*", "?", "*"] or not (fields[0] + fields[1]).isdigit():
        return expression
    today = datetime.fromtimestamp(now, UTC)
    at = today.replace(hour=int(fields[1]), minute=int(fields[0]), second=0, microsecond=0)
    return f"{at if at > today else at + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"


def _alarms(app: App) -> list[dict[str, str]]:
    """The stack's alarms that ring now; without a stack, all that have its prefix."""
    prefix = os.environ.get(stack.NAMED) or os.environ.get("FRAUDLOOP_STACK_NAME") or "fraudloop"
    pages = (
        app.client("cloudwatch").get_paginator("describe_alarms").paginate(AlarmNamePrefix=prefix, StateValue="ALARM")
    )
    return [
        {"name": str(alarm["AlarmName"]), "why": str(alarm.get("StateReason", ""))}
        for page in pages
        for alarm in page["MetricAlarms"]
    ]


def _around(status: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    letters = status["dead_letters"]
    if isinstance(letters, Mapping):
        there = ", ".join(f"{count} in {queue}" for queue, count in letters.items() if count)
        yield "dead letters", f"{there}; `fraudloop dlq list` says why" if there else f"none in {', '.join(letters)}"
    else:
        yield "dead letters", letters
    yield "next night", status["next_night"] + ("; `fraudloop night` plays one" * (status["next_night"] == HERE))
    alarms = status["alarms"]
    yield "alarms", alarms if isinstance(alarms, str) else "none rings" * (not alarms)
    for alarm in () if isinstance(alarms, str) else alarms:
        yield "ALARM", f"{alarm['name']}: {alarm['why']}"
    for name, part in status["parts"].items():
        died = part.get("last_death")
        last = f", the last time {clock(died['at'])} ({died['how']})" if died else ""
        yield name, f"runs since {clock(part['since'])}, restarts: {part['deaths']}{last}"


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(rich_help_panel="Runs")(status)
