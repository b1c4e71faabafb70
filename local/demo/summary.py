"""The demo's last page: the runs, the seconds of each stage, the gate's metrics, and the assertions."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from textwrap import shorten
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from local.demo.scenarios import Assertion, ScenarioResult
from local.terminal import CardTable
from statemachine.contracts.stage import Stage
from statemachine.core import codec
from statemachine.core.run import Run, Transition
from statemachine.core.states import STATE_OF

ASSERTION_WIDTH = 26  # characters in a line of an assertion's text
LONGEST = 400  # characters of what was found; `fraudloop show` and --json print all of it
Histories = Mapping[str, Sequence[Transition]]


def stage_seconds(history: Sequence[Transition]) -> dict[str, float]:
    """Seconds that a run spent in each stage's state, over all attempts."""
    stage_of = {state.value: stage.value for stage, state in STATE_OF.items()}
    spent: dict[str, float] = {}
    for entry, after in pairwise(history):
        if stage := stage_of.get(entry.dest):
            spent[stage] = spent.get(stage, 0.0) + after.at - entry.at
    return spent


def render(results: Sequence[ScenarioResult], histories: Histories, facts: Mapping[str, str]) -> RenderableType:
    """Returns the page for a terminal."""
    parts: list[RenderableType] = []
    if histories:
        parts += [_history(results, histories), Text(), _runs(results, histories), Text()]
    if any(result.assertions for result in results):
        parts += [_assertions(results), Text()]
    if left := [result.title for result in results if not result.assertions]:
        parts += [Text(f"Not run: {', '.join(left)}"), Text()]
    return Group(*parts, *(Text(f"{name:<28} {value}") for name, value in facts.items()))


def _history(results: Sequence[ScenarioResult], histories: Histories) -> CardTable:
    run = results[0].runs[0].id if results and results[0].runs else ""
    table = CardTable(f"The history of {run} in DynamoDB", ["#", ">after", "from", "to", "because"])
    entries = histories.get(run, [])
    for entry in entries:
        because = entry.reason.words + (f": {entry.message}" if entry.message else "")
        after = f"{entry.at - entries[0].at:.1f} s"
        table.add_row(str(entry.version), after, entry.source or "·", entry.dest, Text(because))
    return table


def _runs(results: Sequence[ScenarioResult], histories: Histories) -> CardTable:
    seconds = {run_id: stage_seconds(history) for run_id, history in histories.items()}
    shown = [stage.value for stage in Stage if any(stage.value in spent for spent in seconds.values())]
    columns = ["run", "outcome", *(f">{name}" for name in shown), ">AUC", ">gate", ">AP", "version"]
    table = CardTable("Runs: seconds a stage, metrics beside the gate", columns)
    for run in (run for result in results for run in result.runs):
        spent = seconds.get(run.id, {})
        stages = [f"{spent[name]:.1f}" if name in spent else "" for name in shown]
        auc, precision = (_number(run.metrics.get(name)) for name in ("auc_roc", "average_precision"))
        table.add_row(run.id, run.state.value, *stages, auc, _floor(run), precision, run.candidate)
    return table


def _assertions(results: Sequence[ScenarioResult]) -> RenderableType:
    """One line per assertion, under its scenario."""
    parts: list[RenderableType] = [Text("What had to hold", style="bold")]
    for result in (result for result in results if result.assertions):
        lines = Table.grid(
            Column(no_wrap=True), Column(width=ASSERTION_WIDTH), Column(overflow="fold"), padding=(0, 2, 0, 0)
        )
        for assertion in result.assertions:
            lines.add_row(
                _mark(assertion), Text(assertion.text), Text(shorten(assertion.found, LONGEST, placeholder=" …"))
            )
        parts += [Text(result.title), Padding(lines, (0, 0, 0, 2))]
    return Group(*parts)


def _mark(assertion: Assertion) -> Text:
    if assertion.held:
        return Text("✓", style="green")
    return Text("✗", style="bold red") if assertion.binding else Text("slow", style="yellow")


def _floor(run: Run) -> str:
    checks = run.verdict.get("checks", [])
    return next((f"≥ {check['limit']:.2f}" for check in checks if check["name"] == "auc_roc"), "")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def as_data(results: Sequence[ScenarioResult], histories: Histories, facts: Mapping[str, str]) -> dict[str, Any]:
    """Returns the page as JSON values."""
    return {
        "scenarios": [
            {
                "title": result.title,
                "held": result.held,
                "assertions": [vars(assertion) for assertion in result.assertions],
                "runs": [
                    json.loads(codec.dumps(run)) | {"seconds": stage_seconds(histories.get(run.id, []))}
                    for run in result.runs
                ],
            }
            for result in results
        ],
        "facts": dict(facts),
    }
