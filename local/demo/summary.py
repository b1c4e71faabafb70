"""The demo's last page: what ran, how long each stage took, what the gate saw, and which promises held."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from textwrap import shorten
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from local.demo.scenarios import ScenarioResult
from statemachine.contracts.stage import Stage
from statemachine.core import codec
from statemachine.core.run import Run, Transition
from statemachine.core.states import STATE_OF

STAGES = (Stage.PREPROCESS, Stage.TRAIN, Stage.EVALUATE, Stage.EXPORT, Stage.DEPLOY, Stage.RESTORE)
LONGEST = 240  # characters of a finding; `fraudloop show` and --json have all of it
Histories = Mapping[str, Sequence[Transition]]


def stage_seconds(history: Sequence[Transition]) -> dict[str, float]:
    """How long a run was in each stage's state, over all attempts."""
    stage_of = {state.value: stage.value for stage, state in STATE_OF.items()}
    spent: dict[str, float] = {}
    for entry, after in pairwise(history):
        if stage := stage_of.get(entry.dest):
            spent[stage] = spent.get(stage, 0.0) + after.at - entry.at
    return spent


def render(scenes: Sequence[ScenarioResult], histories: Histories, facts: Mapping[str, str]) -> RenderableType:
    """Everything for people."""
    return Group(
        _history(scenes, histories),
        Text(),
        _runs(scenes, histories),
        Text(),
        _promises(scenes),
        Text(),
        *(Text(f"{name:<28} {value}") for name, value in facts.items()),
    )


def _history(scenes: Sequence[ScenarioResult], histories: Histories) -> Table:
    run = scenes[0].runs[0].id if scenes and scenes[0].runs else ""
    table = _table(f"The history of {run} in DynamoDB", "#", ">after", "from", "to", "because")
    entries = histories.get(run, [])
    for entry in entries:
        because = entry.row.replace("_", " ") + (f": {entry.reason}" if entry.reason else "")
        table.add_row(str(entry.version), f"{entry.at - entries[0].at:.1f} s", entry.source or "·", entry.dest, because)
    return table


def _runs(scenes: Sequence[ScenarioResult], histories: Histories) -> Table:
    table = _table(
        "Runs: seconds a stage, metrics beside the gate",
        "run",
        "outcome",
        *(f">{s.value}" for s in STAGES),
        ">AUC",
        ">gate",
        ">AP",
        "version",
    )
    for run in (run for scene in scenes for run in scene.runs):
        spent = stage_seconds(histories.get(run.id, []))
        stages = [f"{spent[s.value]:.1f}" if s.value in spent else "" for s in STAGES]
        auc, precision = (_figure(run.metrics.get(name)) for name in ("auc_roc", "average_precision"))
        table.add_row(run.id, run.state.value, *stages, auc, _floor(run), precision, run.candidate)
    return table


def _promises(scenes: Sequence[ScenarioResult]) -> Table:
    table = _table("What had to hold", "", "scenario", "promise", "found")
    for scene in scenes:
        for number, promise in enumerate(scene.promises):
            mark = "[green]✓[/]" if promise.held else "[bold red]✗[/]"
            table.add_row(
                mark,
                "" if number else scene.title,
                promise.text,
                Text(shorten(promise.found, LONGEST, placeholder=" …")),
            )
        if not scene.promises:
            table.add_row("[bold red]✗[/]", scene.title, "it was played", "no")
    return table


def _floor(run: Run) -> str:
    checks = run.verdict.get("checks", [])
    return next((f"≥ {check['limit']:.2f}" for check in checks if check["name"] == "auc_roc"), "")


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    return table


def as_data(scenes: Sequence[ScenarioResult], histories: Histories, facts: Mapping[str, str]) -> dict[str, Any]:
    """Everything for programs."""
    return {
        "scenes": [
            {
                "title": scene.title,
                "held": scene.held,
                "promises": [vars(promise) for promise in scene.promises],
                "runs": [
                    json.loads(codec.dumps(run)) | {"seconds": stage_seconds(histories.get(run.id, []))}
                    for run in scene.runs
                ],
            }
            for scene in scenes
        ],
        "facts": dict(facts),
    }
