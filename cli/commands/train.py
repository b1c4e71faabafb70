"""`train`: the stages without the loop, on files of this machine."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from cli.output import Json, Markup, console, emit, facts, figure, quoted, table
from statemachine.contracts.errors import Unknown

SPLITS = ("quantiles", "years")


def train(
    files: Annotated[list[Path], typer.Argument(help="CSV (also gzipped) or Parquet files.")],
    out: Annotated[Path, typer.Option(help="A folder for the model, the evaluation and the Triton repository.")],
    split: Annotated[
        str, typer.Option(help="`quantiles` of time, or `years` (train < 2018 ≤ validate < 2019 ≤ test).")
    ] = ("quantiles"),
    config: Annotated[Path | None, typer.Option(help="Hyper-parameters as TOML or JSON.")] = None,
    data: Annotated[
        str | None, typer.Option(help="A preset, or a TOML file that declares the columns (default: tabformer).")
    ] = None,
    labels: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, help="A file of reports of fraud that come later; may be repeated."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check, split, train, evaluate and export on this machine: the same functions that the KFP components call.

    Example: `fraudloop train day.csv --out out`
    """
    from training.offline import run

    if split not in SPLITS:
        raise typer.BadParameter(f"{split!r} is not one of {', '.join(SPLITS)}", param_hint="--split")
    for file in files:
        if not file.is_file():
            raise Unknown(f"there is no file {file}; name CSV or Parquet files in TabFormer's columns")
    if out.exists() and not out.is_dir():
        raise typer.BadParameter(f"{out} is a file; name a folder", param_hint="--out")
    if as_json:
        return emit(
            run(files, out, split=split, config=config, progress=lambda *_: None, data=data, labels=labels or [])
        )
    result = run(files, out, split=split, config=config, progress=_say, data=data, labels=labels or [])
    columns = ("average_precision", "auc_roc", "f1", "precision", "recall")
    named = {"this model": result["metrics"], **result["baselines"]}
    rows = [[name, *(figure(metrics.get(column)) for column in columns)] for name, metrics in named.items()]
    console.print(table("On the test rows, at natural prevalence", ["", *(f">{c}" for c in columns)], rows))
    console.print(f"\nthe gate says {'yes' if result['passed'] else 'no'}: {result['reason']}")
    places = {"report": "report_html", "model card": "model_card", "repository": "repository"}
    where = [(name, str(result[key])) for name, key in places.items()]
    console.print(facts("", [*where, ("serve it", f"fraudloop serve {shlex.quote(str(out))}")]), soft_wrap=True)
    return None


def _say(event: str, figures: Mapping[str, float]) -> None:
    told = ", ".join(f"{name} {value:g}" for name, value in figures.items())
    console.print(Markup(f"[dim]{quoted(event)}[/] {quoted(told)}"))


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(rich_help_panel="Models")(train)
