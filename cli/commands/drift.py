"""`drift`: whether the champion scores payments as in its first days, and what became of its alerts."""

import os
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from cli.commands.nightly import invoke_with
from cli.connection import application, known
from cli.output import Json, Markup, console, emit, errors, figure, table
from statemachine.bootstrap import App
from statemachine.contracts import paths
from statemachine.contracts.stage import Stage

ENTITY_KEY = "FRAUDLOOP_ENTITY_KEY"
MARK = {True: Markup("[green]✓[/]"), False: Markup("[bold red]✗[/]"), None: Markup("[dim]?[/]")}
BEGAN = "the live scores drifted"  # what the runs' reasons begin with that this command asked for
MONTH = 30 * 86_400
LOOKED_AT = 200  # runs


def drift(
    model: Annotated[str, typer.Option(help="A model of fraudloop.toml.")] = "fraud",
    first_days: Annotated[int, typer.Option(min=1, help="The champion's first days.")] = 7,
    recent_days: Annotated[int, typer.Option(min=1, help="The days that are held against them.")] = 1,
    min_rows: Annotated[int, typer.Option(min=1, help="Fewer answers say nothing.")] = 1000,
    save: Annotated[bool, typer.Option("--save", help="Keep the report beside the score log.")] = False,
    push: Annotated[str, typer.Option(help="A Pushgateway to tell, for alerts and the dashboard.")] = "",
    ask: Annotated[bool, typer.Option("--ask", help="If it drifted: ask for a run, as the night does.")] = False,
    cooldown_hours: Annotated[float, typer.Option(min=1, help="Asked at most once in each such span of time.")] = 12,
    most_a_month: Annotated[int, typer.Option(min=0, help="Runs asked for in 30 days, at most.")] = 4,
    scheduled: Annotated[
        bool, typer.Option("--scheduled", help="For a job: status 1 if nothing was pushed, not if it drifted.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare the champion's live scores with those of its first days, and its alerts with the labels known by now.

    Ends with status 1 if it drifted. Example: `fraudloop drift --model fraud`
    """
    from training.scorelog.drift import DriftLimits

    app, now = application(), time.time()
    limits = DriftLimits(first_days=first_days, recent_days=recent_days, min_rows=min_rows)
    report = measured(app, known(app, model), now, limits)
    if save:
        app.files.write(paths.drift_report(app.policies[model].root, model), _dumped(report))
    pushed = bool(push) and _push(push, report)
    drifted = report["verdict"] == "drifted"
    asked = _ask(app, report, now, cooldown_hours, most_a_month) if ask and drifted else ""
    if as_json:
        emit({**report, "asked": asked})
    else:
        _show(report, asked)
    if (push and not pushed) if scheduled else drifted:
        raise typer.Exit(1)


def measured(app: App, model: str, now: float, limits: Any = None) -> dict[str, Any]:
    """The report on the champion's live scores; `limits` are `training.scorelog.drift.DriftLimits`."""
    from training.scorelog.drift import LIMITS
    from training.scorelog.files import ScoreFiles
    from training.scorelog.report import live_report

    files = ScoreFiles(app.policies[model].root, model)
    champion = app.store.model(model).champion
    cohorts, without = _cohorts(app, model, files, now)
    return live_report(files, champion.version if champion else "", now, limits or LIMITS, cohorts, without)


def _cohorts(app: App, model: str, files: Any, now: float) -> tuple[Sequence[Mapping[str, Any]], str]:
    """The maturity cohorts, or why there are none."""
    from training.scorelog.report import matured

    secret = os.environ.get(ENTITY_KEY, "")
    if not secret:
        return (), f"{ENTITY_KEY} is not set: without it answers cannot be joined with the data set"
    from training.live.keys import EntityHash

    outputs = (run.output(Stage.PREPROCESS, "dataset") for run in app.store.runs(model, LOOKED_AT))
    dataset = next((uri for uri in outputs if uri), "")
    if not dataset:
        return (), "no run has made a data set yet"
    try:
        return matured(files, dataset, now, EntityHash(secret).of), ""
    except FileNotFoundError:
        return (), f"the data set {dataset} has expired; the next run makes one"


def _ask(app: App, report: Mapping[str, Any], now: float, cooldown_hours: float, most_a_month: int) -> str:
    """Have the nightly function close the model's window; says what came of it.

    The slot is the beginning of the span of time that `now` lies in, and a slot counts once, as a night's does.
    """
    model = report["model"]
    runs = app.store.runs(model, LOOKED_AT)
    begun = [run for run in runs if run.created_at > now - MONTH and run.trigger.why.startswith(BEGAN)]
    if len(begun) >= most_a_month:
        return f"no run is asked for: {len(begun)} of the last 30 days began so, and {most_a_month} may"
    span = cooldown_hours * 3600
    slot = datetime.fromtimestamp(now // span * span, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    told = ", ".join(
        f"{c['name']} {c['value']:.3g} beyond {c['limit']:g}" for c in report["checks"] if c["passed"] is False
    )
    answer = invoke_with({"slot": slot, "models": [model], "why": f"{BEGAN}: {told}"})
    run = answer.get("began", {}).get(model, "")
    return f"{run} begins" if run else f"no run begins: nothing is new, or one was asked for since {slot}"


def _dumped(report: Mapping[str, Any]) -> bytes:
    from training.storage import dump_json

    return dump_json(report)


def _push(gateway: str, report: Mapping[str, Any]) -> bool:
    from training.scorelog.metrics import GATEWAY, LIVE, push
    from training.scorelog.report import samples

    sent = push(report["model"], LIVE, samples(report), {GATEWAY: gateway})
    if not sent:
        errors.print(f"the Pushgateway {gateway} did not take it")
    return sent


def _show(report: Mapping[str, Any], asked: str) -> None:
    first, recent = report["first"], report["recent"]
    spans = f"{first['from']} to {first['until']} ({first['rows']:,} answers), now {recent['rows']:,}"
    checks = [
        [c["name"], figure(c["value"]), figure(c["limit"]), MARK[c["passed"]], c["note"]] for c in report["checks"]
    ]
    title = f"{report['version'] or 'nothing'} answers {report['model']}: {report['verdict']}; its first days {spans}"
    console.print(table(title, ["check", ">figure", ">limit", "", "in words"], checks))
    columns = ["month", ">payments", ">alerts", ">known", ">frauds", ">expected", ">precision", ">missed", ">recall"]
    rows = [_cohort(c) for c in report["cohorts"]]
    if report["cohorts_missing"]:
        console.print(f"What became of alerts is not known: {report['cohorts_missing']}")
    else:
        console.print(table("What alerts turned out to be, by the month of the payment", columns, rows))
    if asked:
        console.print(asked)


def _cohort(c: Mapping[str, Any]) -> list[str]:
    counts = [f"{c[name]:,}" for name in ("payments", "alerts", "known", "frauds")]
    return [
        str(c["month"]),
        *counts,
        f"{c['expected']:.1f}",
        figure(c["precision"]),
        f"{c['missed']:,}",
        figure(c["recall"]),
    ]


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(rich_help_panel="Production")(drift)


if __name__ == "__main__":  # deploy/live: its image holds what this command needs, not what all of them do
    typer.run(drift)
