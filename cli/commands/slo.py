"""`slo`: the service level objectives, measured from the table's history, with trend, for people and dashboards."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated

import typer

from cli.commands import cost_queries
from cli.connection import application, known
from cli.output import Json, Markup, console, emit, errors, table
from statemachine.contracts.errors import Unreachable
from statemachine.contracts.metrics import METRICS
from statemachine.reporting.parity import Baseline
from statemachine.reporting.slo import LiveCounts, Objective, RunRecord, Targets, live_objectives, objectives

JOB = "fraudloop-slo"
MET = {True: Markup("[green]met[/]"), False: Markup("[bold red]missed[/]"), None: Markup("[dim]unknown[/]")}


def slo(
    model: Annotated[str, typer.Option(help="A model of fraudloop.toml.")] = "fraud",
    days: Annotated[float, typer.Option(help="The window; the one before it gives the trend.")] = 30.0,
    baseline: Annotated[Path | None, typer.Option(help="A baseline file: training time and cost to hold.")] = None,
    push: Annotated[str, typer.Option(help="A Pushgateway to tell, for the dashboard.")] = "",
    scheduled: Annotated[
        bool,
        typer.Option("--scheduled", help="For a job: status 1 if nothing was pushed, not if an objective is missed."),
    ] = False,
    prometheus: Annotated[
        str, typer.Option(help="A Prometheus that scrapes Triton, such as http://prometheus:9090: adds live scoring.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Success rate, training time, AUC, deployment time and cost per run, against their targets.

    With --prometheus also live scoring: payments answered within 10 ms, availability, and the share that was answered
    without its history. Ends with status 1 if an objective is missed. Example: `fraudloop slo --baseline baseline.json`
    """
    app, window, now = application(), days * cost_queries.DAY, time.time()
    records = cost_queries.records(app, known(app, model), now - 2 * window, cost_queries.prices())
    read = cost_queries.baseline(baseline) if baseline else None
    found = objectives(records, now, window, _targets(read, records))
    if prometheus:
        found += _live(prometheus, model, days, scheduled)
    pushed = bool(push) and _push(push, model, found, records)
    if as_json:
        emit([vars(each) | {"met": each.met, "trend": each.trend} for each in found])
    else:
        console.print(table(f"{model}, last {days:g} days, {len(records)} runs", *_table(found)))
    if (not pushed) if scheduled else any(each.met is False for each in found):
        raise typer.Exit(1)


LIVE = {
    "answers": 'fraudloop_live_answers_total{model="%s"}',
    "degraded": 'fraudloop_live_answers_total{model="%s", degraded!=""}',
    "slow": 'fraudloop_live_slow_total{model="%s"}',
    "refused": 'fraudloop_live_refused_total{model="%s"}',
    "asked": '{__name__=~"nv_inference_request_(success|failure)", model="fraud_live"}',
    "failed": 'nv_inference_request_failure{model="fraud_live"}',
}


def _live(prometheus: str, model: str, days: float, scheduled: bool) -> tuple[Objective, ...]:
    """The objectives of live scoring; a job goes on without them if Prometheus does not answer, and says so."""
    try:
        return live_objectives(*(_counted(prometheus, model, days, back) for back in (0.0, days)))
    except Unreachable as error:
        if not scheduled:
            raise
        errors.print(str(error))
        return ()


def _counted(prometheus: str, model: str, days: float, back: float) -> LiveCounts:
    """What was counted in the window that ends `back` days ago. Raises `Unreachable`."""
    from clients.prometheus import number

    span = f"[{round(days * cost_queries.DAY)}s]" + (f" offset {round(back * cost_queries.DAY)}s" if back else "")
    selectors = {name: text % model if "%s" in text else text for name, text in LIVE.items()}
    return LiveCounts(
        **{name: number(prometheus, f"sum(increase({selector}{span}))") for name, selector in selectors.items()}
    )


def _targets(baseline: Baseline | None, records: Sequence[RunRecord]) -> Targets:
    """The baseline's, or for the cost what SageMaker would take for the very same stages."""
    if baseline and baseline.cost_dollars is not None:
        dollars: float | None = baseline.cost_dollars
    else:
        twins = [record.sagemaker_dollars for record in records if record.sagemaker_dollars is not None]
        dollars = fmean(twins) if twins else None
    return Targets(baseline.measured.training_seconds if baseline else None, dollars)


def _table(found: Sequence[Objective]) -> tuple[list[str], list[list[str]]]:
    rows = [
        [each.name, _figure(each.value), f"{'≤' if each.at_most else '>'} {_figure(each.target)}", MET[each.met],
         _figure(each.before), each.trend]
        for each in found
    ]  # fmt: skip
    return ["objective", ">reached", ">asked", "", ">before", "trend"], rows


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def samples(found: Sequence[Objective], records: Sequence[RunRecord]) -> Iterator[tuple[str, str, float]]:
    """Name, label and value of what the dashboard shows; an unknown objective is left out, not called 0."""
    for each in found:
        for name, value in (("slo_value", each.value), ("slo_target", each.target), ("slo_met", each.met)):
            if value is not None:
                yield f"fraudloop_{name}", each.name, float(value)
    if records:
        yield "fraudloop_run_cost_dollars", "marginal", fmean(record.dollars for record in records)
        yield "fraudloop_run_cost_dollars", "loaded", fmean(record.loaded_dollars for record in records)
        for stage in sorted({stage for record in records for stage in record.stage_dollars}):
            spent = [record.stage_dollars[stage] for record in records if stage in record.stage_dollars]
            yield "fraudloop_stage_cost_dollars", stage, fmean(spent)
    twins = [record.sagemaker_dollars for record in records if record.sagemaker_dollars is not None]
    if twins:
        yield "fraudloop_run_cost_dollars", "sagemaker", fmean(twins)


def _push(gateway: str, model: str, found: Sequence[Objective], records: Sequence[RunRecord]) -> bool:
    from prometheus_client import CollectorRegistry, Gauge, push_to_gateway

    registry, gauges = CollectorRegistry(), {}
    for name, label, value in samples(found, records):
        [own] = [each for each in METRICS[name].labels if each != "model"]
        if name not in gauges:
            gauges[name] = Gauge(name, METRICS[name].help, [own], registry=registry)
        gauges[name].labels(**{own: label}).set(value)
    try:
        push_to_gateway(gateway, job=JOB, registry=registry, grouping_key={"model": model}, timeout=5)
    except OSError as error:
        errors.print(f"the Pushgateway {gateway} did not take it: {error}")
        return False
    return True


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(rich_help_panel="Production")(slo)


if __name__ == "__main__":  # deploy/slo: its image holds what this command needs, not what all of them do
    typer.run(slo)
