"""`compare`: two versions or runs on the same rows, by segment; where the rows are not the same, that comes first."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType

from cli.commands import evidence
from cli.commands.comparison import compared
from cli.commands.evidence import Evidence
from cli.connection import application
from cli.output import Json, Markup, console, emit, facts, figure, quoted, shown, table
from statemachine.bootstrap import App
from statemachine.contracts.errors import OperationRefused
from statemachine.contracts.stage import Stage

SHORT = {"average_precision": "AP", "auc_roc": "AUC"}


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A run or version: the one to compare with.")],
    b: Annotated[str, typer.Argument(metavar="B", help="A run or version: the one that is compared.")],
    rescore: Annotated[
        bool, typer.Option("--rescore", help="Score both anew on B's test rows, on this machine: minutes.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Hold B against A: the metrics at the operating threshold, the paired differences, and each segment.

    Differences have intervals only where both were scored on the same rows: by B's evaluation, if A served then, or
    with `--rescore`. Example: `fraudloop compare fraud-6 fraud-7`
    """
    app = application()
    one, other = evidence.find(app, a), evidence.find(app, b)
    comparison = rescored(app, one, other) if rescore else compared(one, other)
    if as_json:
        return emit(comparison)
    console.print(Group(*_parts(comparison, a, b)))
    return None


def rescored(app: App, one: Evidence, other: Evidence) -> dict[str, Any]:
    """Both scored anew on B's test rows. Raises `OperationRefused`."""
    from cli.commands.rescoring import rescore

    dataset = other.run.output(Stage.PREPROCESS, "dataset")
    models = [each.run.output(Stage.TRAIN, "model") for each in (one, other)]
    if not dataset or not all(models):
        raise OperationRefused(f"{one.name} and {other.name} need a model each, and {other.name} a data set, to score")
    found = rescore(models[0], models[1], dataset)
    return {"same_rows": True, "rows": f"Both were scored now on the same rows: {other.rows}."} | found


# -- on the terminal --------------------------------------------------------------------------------------------------


def _parts(comparison: Mapping[str, Any], a: str, b: str) -> Iterator[RenderableType]:
    style = "bold" if comparison["same_rows"] else "bold red"
    yield shown(Markup(f"[{style}]{quoted(comparison['rows'])}[/]"))
    low, high = comparison["thresholds"]
    yield facts("", [("threshold", f"{a} {figure(low)}, {b} {figure(high)}")])
    columns = ["metric", f">{a}", f">{b}", ">difference", ">interval (90 %)"]
    rows = [_metric(name, pair, comparison["difference"].get(name)) for name, pair in comparison["metrics"].items()]
    yield table("At the operating threshold", columns, rows)
    names = [name for name in ("average_precision", "auc_roc", "recall", "precision") if name in _first(comparison)]
    sides = [f">{SHORT.get(name, name)} {side}" for name in names for side in ("A", "B")]
    columns = ["segment", ">rows", ">frauds", *sides]
    own = "" if _first(comparison).get("same_rows") else "; each on its own test rows"
    title = f"By segment (A is {a}, B is {b}{own})"
    yield table(title, columns, [_segment(piece, names) for piece in comparison["segments"]])


def _first(comparison: Mapping[str, Any]) -> Mapping[str, Any]:
    return next(iter(comparison["segments"]), {})


def _metric(name: str, pair: Sequence[float | None], difference: Mapping[str, float] | None) -> list[str]:
    if difference is None:
        return [name, *map(figure, pair), "", ""]
    interval = f"{difference['low']:+.4f}…{difference['high']:+.4f}"
    return [name, *map(figure, pair), f"{difference['mean']:+.4f}", interval]


def _segment(piece: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    counts = [_both(piece[name]) for name in ("rows", "frauds")]
    return [str(piece["name"]), *counts, *(figure(value) for name in names for value in piece[name])]


def _both(counts: Sequence[int | None]) -> str:
    """One number if both have it, else both."""
    said = list(dict.fromkeys("–" if count is None else f"{count:,}" for count in counts))
    return " / ".join(said)


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(rich_help_panel="Runs")(compare)
