"""`diff`: what is not the same in two runs: data, labels, code, images, parameters, metrics."""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from cli.commands import evidence
from cli.commands.evidence import Evidence
from cli.connection import application
from cli.output import Json, console, emit, stamp, table
from statemachine.bootstrap import App
from statemachine.contracts import paths

SHOWN = 20  # objects a side on the terminal
COUNTS = ("rows", "corrected", "duplicates", "labels_corrected", "reports", "reports_waiting")


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A run or version.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    as_json: Json = False,
) -> None:
    """Show in what two runs differ: data and labels, objects, code and images, parameters, metrics.

    Example: `fraudloop diff fraud-6 fraud-7`
    """
    app = application()
    found = differences(app, evidence.find(app, a), evidence.find(app, b))
    if as_json:
        return emit(found)
    added, removed = (found.pop(name) for name in ("objects_added", "objects_removed"))
    for kind, changes in found.items():
        rows = [[name, *map(_shown, values)] for name, values in changes.items()]
        console.print(table(kind, ["", a, b], rows) if rows else f"{kind}: the same")
    for what, keys in (("added", added), ("removed", removed)):
        more = [[f"… and {len(keys) - SHOWN} more"]] if len(keys) > SHOWN else []
        if keys:
            console.print(table(f"{len(keys)} objects {what}", ["object"], [[key] for key in keys[:SHOWN]] + more))
    return None


def differences(app: App, one: Evidence, other: Evidence) -> dict[str, Any]:
    """What differs by kind: name → [A's, B's]; and the keys of objects that were added and removed."""
    found: dict[str, Any] = {kind: dict(_changed(*sides)) for kind, sides in _sides(app, one, other).items()}
    found["objects_added"], found["objects_removed"] = _objects(app, one, other)
    return found


def _sides(app: App, one: Evidence, other: Evidence) -> dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]]:
    return {
        "data": (_data(one), _data(other)),
        "code": (_code(app, one), _code(app, other)),
        "parameters": (_parameters(one), _parameters(other)),
        "metrics": (dict(one.run.metrics), dict(other.run.metrics)),
    }


def _changed(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    for name in sorted({*one, *other}):
        if one.get(name) != other.get(name):
            yield name, [one.get(name), other.get(name)]


def _data(measured: Evidence) -> dict[str, Any]:
    """Rows, dates, labels and splits of the data set, flat."""
    dataset, metrics = measured.dataset, measured.run.metrics
    facts: dict[str, Any] = {name: dataset.get(name, metrics.get(name)) for name in COUNTS}
    facts |= {name: stamp(dataset[name]) for name in ("first", "last") if name in dataset}
    facts |= {name: dataset.get(name) for name in ("data_sha256", "schema_sha256")}
    for part, counts in dataset.get("splits", {}).items():
        facts |= {f"{part} {name}": count for name, count in counts.items()}
    return facts


def _code(app: App, measured: Evidence) -> dict[str, Any]:
    """The pipelines' content hashes, and each stage's code, image and lock as its report says."""
    facts: dict[str, Any] = {f"pipeline {name}": pin.version_name for name, pin in measured.run.pins.items()}
    for stage, outputs in measured.run.outputs.items():
        lineage = _lineage(app, next((found.uri for found in outputs.values() if paths.root_of(found.uri)), ""))
        facts |= {f"{stage} {name}": value for name, value in lineage.items() if name != "host"}
    return facts


def _lineage(app: App, uri: str) -> Mapping[str, Any]:
    """Of the report that lies beside a stage's outputs: `runs/<run>/<stage>/<attempt>/<launch>/report.json`."""
    folder = "/".join(uri.split("/")[:8])
    body = app.files.read(f"{folder}/report.json", evidence.LARGEST) if uri.startswith("s3://") else None
    try:
        return dict(json.loads(body or b"{}").get("lineage", {}))
    except ValueError:
        return {}


def _parameters(measured: Evidence) -> dict[str, Any]:
    return {f"{s}.{name}": value for s, table in measured.run.parameters.items() for name, value in table.items()}


def _objects(app: App, one: Evidence, other: Evidence) -> tuple[list[str], list[str]]:
    """Keys that B learned from and A did not, and the reverse, by the objects' epochs and what was set aside."""
    if one.run.model != other.run.model:
        return [], []
    low, high = sorted((one.run.epoch, other.run.epoch))
    between = [t for n in range(low + 1, high + 1) for t in app.intake.of_epoch(one.run.model, n)]
    new = sorted({each.key for each in between if each.status.usable})
    gone = sorted({each.key for each in app.intake.kept.removed(one.run.model, range(low + 1, high + 1))})
    return (new, gone) if one.run.epoch <= other.run.epoch else (gone, new)


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,.6g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(rich_help_panel="Runs")(diff)
