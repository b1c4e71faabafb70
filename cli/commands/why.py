"""`why`: the reason for how a run ended, in one screen: each check with its value, limit, interval and count."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType

from cli.commands import evidence
from cli.commands.audit import acts_on
from cli.commands.runs import story
from cli.connection import application
from cli.output import Json, Markup, clock, colored, console, emit, facts, figure, quoted, table
from statemachine.bootstrap import App
from statemachine.core.run import Run
from statemachine.core.window import Status

MOST_OBJECTS = 8
COUNT = 10.0  # from here on a value is a count and no rate
TRIES = 6  # of the last attempts that failed


def why(run_id: Annotated[str, typer.Argument(metavar="RUN")], as_json: Json = False) -> None:
    """Say why a run ended as it did: the gate's checks with value, limit, interval and count, or what failed.

    Example: `fraudloop why fraud-7`
    """
    app = application()
    run = app.store.run(run_id)
    reasons = reasons_of(app, run)
    if as_json:
        return emit(reasons)
    console.print(Group(*_parts(run, reasons)))
    return None


def reasons_of(app: App, run: Run) -> dict[str, Any]:
    """The reasons for how the run ended, as data."""
    measured = evidence.evaluation(app, run)
    summary = story(app, run)
    failed = [e for e in app.store.history(run.id) if e.message and e.source == e.dest]
    aside = [item for item in summary.objects if item.status is Status.QUARANTINED]
    return {
        "run": run.id,
        "state": run.state.value,
        "headline": summary.headline,
        "reason": run.reason,
        "fault": run.fault,
        "checks": [checked(check, measured) for check in run.verdict.get("checks", [])],
        "shadow": list(run.shadow.get("checks", [])),
        "measured_on": {name: measured.get(name) for name in ("rows", "frauds", "threshold")},
        "failed_attempts": [{"at": e.at, "state": e.source, "attempt": e.attempt, "reason": e.message} for e in failed],
        "refused_objects": [{"object": item.key, "reason": item.reason} for item in aside],
        "acts": [vars(act) for act in acts_on(app, run)],
        "next": summary.following,
    }


def checked(check: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, Any]:
    """A check of the gate with its interval and how many frauds and rows its value stands on, where they are known."""
    name = str(check["name"])
    piece = next((each for each in measured.get("slices", ()) if name == f"slice {each['name']}"), None)
    role, _, metric = name.partition(".")
    difference = ((measured.get(role) or {}).get("difference") or {}).get(metric) if metric else None
    interval = [difference["low"], difference["high"]] if difference else measured.get("intervals", {}).get(name)
    counted = piece or (measured if name in measured.get("metrics", {}) or name == "frauds" or difference else {})
    return {**check, "interval": interval, "frauds": counted.get("frauds"), "rows": counted.get("rows")}


def _parts(run: Run, reasons: Mapping[str, Any]) -> Iterator[RenderableType]:
    head = f"[bold]{quoted(run.id)}[/] is {colored(run.state)}. {quoted(reasons['headline'])}"
    rows = [("at fault", run.fault), ("because", run.reason if run.reason not in reasons["headline"] else "")]
    rows += [
        (f"attempt {each['attempt']}", f"{each['state'].lower()}: {each['reason']}")
        for each in reasons["failed_attempts"][-TRIES:]
    ]
    rows += [(act["what"], f"{act['who']}, {clock(act['at'])}: {act['why']}") for act in reasons["acts"]]
    rows += [("refused", f"{each['object']}: {each['reason']}") for each in reasons["refused_objects"][:MOST_OBJECTS]]
    yield facts(Markup(head), rows)
    if reasons["checks"]:
        columns = ["check", ">value", ">limit", ">interval", ">frauds / rows", ""]
        yield table("The gate", columns, [_row(check) for check in reasons["checks"]])
        yield facts("", [(check["name"], _words(check)) for check in reasons["checks"]])
    elif run.verdict == {}:
        yield facts("The gate was not asked.", [])
    if reasons["shadow"]:
        judged = [_row({"interval": None, "frauds": None, "rows": None, **check}) for check in reasons["shadow"]]
        yield table("The shadow", ["check", ">value", ">limit", "", "", ""], judged)
        yield facts("", [(check["name"], _words(check)) for check in reasons["shadow"]])
    yield facts("", [("next", reasons["next"])])


def _row(check: Mapping[str, Any]) -> list[str]:
    interval, counts = check["interval"], [check[name] for name in ("frauds", "rows")]
    sign = "+" if "." in check["name"] else ""  # a difference
    between = f"{interval[0]:{sign}.4f}…{interval[1]:{sign}.4f}" if interval else ""
    counted = " / ".join("–" if count is None else f"{count:,.0f}" for count in counts) if any(counts) else ""
    mark = Markup("[green]✓[/]" if check["passed"] else "[bold red]✗[/]")
    return [str(check["name"]), _value(check["value"]), _value(check["limit"]), between, counted, mark]


def _value(value: float | None) -> str:
    return figure(value) if value is None or abs(value) < COUNT else f"{value:,.0f}"


def _words(check: Mapping[str, Any]) -> str:
    """The messages of the checks that failed and of those that have no value."""
    return "" if check["passed"] and check["value"] is not None else str(check.get("note", ""))


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(rich_help_panel="Runs")(why)
