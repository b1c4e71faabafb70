"""`train`: the stages without the loop, on files of this machine."""

from pathlib import Path
from typing import Annotated

import typer

from cli.output import Json, console, emit


def train(
    files: Annotated[list[Path], typer.Argument(help="CSV (also gzipped) or Parquet files in TabFormer's columns.")],
    out: Annotated[Path, typer.Option(help="A folder for the model, the evaluation and the Triton repository.")],
    split: Annotated[
        str, typer.Option(help="`quantiles` of time, or `years` (train < 2018 ≤ validate < 2019 ≤ test).")
    ] = ("quantiles"),
    config: Annotated[Path | None, typer.Option(help="Hyper-parameters as TOML or JSON.")] = None,
    as_json: Json = False,
) -> None:
    """Check, split, train, evaluate and export on this machine: the same functions that the KFP components call."""
    from training.local_run import run

    result = run(files, out, split=split, config=config)
    if as_json:
        return emit(result)
    console.print(result)
    return None


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(rich_help_panel="Models")(train)
