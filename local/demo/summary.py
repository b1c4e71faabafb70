"""The demo's last page: what ran, how long each stage took, what the gate saw, and which promises held."""

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
from local.terminal import Listing
from statemachine.contracts.stage import Stage
from statemachine.core import codec
from statemachine.core.run import Run, Transition
from statemachine.core.states import STATE_OF

STAGES = (Stage.PREPROCESS, Stage.TRAIN, Stage.EVALUATE, Stage.EXPORT, Stage.DEPLOY, Stage.RESTORE)
PROMISE = 26  # characters a line of a promise's text
LONGEST = 400  # characters of a finding; `fraudloop show` and --json have all of it
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
    parts: list[RenderableType] = []
    if histories:
        parts += [_history(scenes, histories), Text(), _runs(scenes, histories), Text()]
    if any(scene.promises for scene in scenes):
        parts += [_promises(scenes), Text()]
    if left := [scene.title for scene in scenes if not scene.promises]:
        parts += [Text(f"Not played: {', '.join(left)}"), Text()]
    return Group(*parts, *(Text(f"{name:<28} {value}") for name, value in facts.items()))


def _history(scenes: Sequence[ScenarioResult], histories: Histories) -> Listing:
    run = scenes[0].runs[0].id if scenes and scenes[0].runs else ""
    table = Listing(f"The history of {run} in DynamoDB", ["#", ">after", "from", "to", "because"])
    entries = histories.get(run, [])
    for entry in entries:
        because = entry.reason.words + (f": {entry.message}" if entry.message else "")
        after = f"{entry.at - entries[0].at:.1f} s"
        table.add_row(str(entry.version), after, entry.source or "·", entry.dest, Text(because))
    return table


def _runs(scenes: Sequence[ScenarioResult], histories: Histories) -> Listing:
    stages = [f">{s.value}" for s in STAGES]
    columns = ["run", "outcome", *stages, ">AUC", ">gate", ">AP", "version"]
    table = Listing("Runs: seconds a stage, metrics beside the gate", columns)
    for run in (run for scene in scenes for run in scene.runs):
        spent = stage_seconds(histories.get(run.id, []))
        stages = [f"{spent[s.value]:.1f}" if s.value in spent else "" for s in STAGES]
        auc, precision = (_figure(run.metrics.get(name)) for name in ("auc_roc", "average_precision"))
        table.add_row(run.id, run.state.value, *stages, auc, _floor(run), precision, run.candidate)
    return table


def _promises(scenes: Sequence[ScenarioResult]) -> RenderableType:
    """A line for each promise, under the scenario that made it."""
    parts: list[RenderableType] = [Text("What had to hold", style="bold")]
    for scene in (scene for scene in scenes if scene.promises):
        lines = Table.grid(Column(no_wrap=True), Column(width=PROMISE), Column(overflow="fold"), padding=(0, 2, 0, 0))
        for promise in scene.promises:
            lines.add_row(_mark(promise), Text(promise.text), Text(shorten(promise.found, LONGEST, placeholder=" …")))
        parts += [Text(scene.title), Padding(lines, (0, 0, 0, 2))]
    return Group(*parts)


def _mark(promise: Assertion) -> Text:
    if promise.held:
        return Text("✓", style="green")
    return Text("✗", style="bold red") if promise.binding else Text("slow", style="yellow")


def _floor(run: Run) -> str:
    checks = run.verdict.get("checks", [])
    return next((f"≥ {check['limit']:.2f}" for check in checks if check["name"] == "auc_roc"), "")


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


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
