"""`land`: put files where a model's data arrive. `reindex`: rebuild the index of the training data."""

from pathlib import Path
from typing import Annotated

import boto3
import typer

from cli.connection import application, known, whoami
from cli.output import Json, console, emit
from cli.reasons import Why


def land(
    files: Annotated[
        list[Path],
        typer.Argument(exists=True, dir_okay=False, help="CSV (also gzipped) or Parquet files in TabFormer's columns."),
    ],
    model: Annotated[str, typer.Option(help="The model whose prefix they go under.")] = "fraud",
    as_json: Json = False,
) -> None:
    """Upload files into the data bucket, under the model's prefix, as any producer of data would.

    S3 emits "Object Created". The objects join the open window, and a run begins when it closes. Example:
    `fraudloop land day.csv`
    """
    app = application()
    policy, bucket, s3 = app.policies[known(app, model)], app.settings.data_bucket, boto3.client("s3")
    landed = []
    for file in files:
        key = policy.prefix + file.name
        s3.upload_file(str(file), bucket, key)
        landed.append(f"s3://{bucket}/{key}")
    if as_json:
        return emit(landed)
    for uri in landed:
        console.print(f"landed {uri}")
    quiet = f"{policy.intake.quiet_period:.0f} quiet seconds"
    console.print(f"the window closes after {quiet}; `fraudloop start {model}` closes it now")
    return None


def reindex(
    model: Annotated[str, typer.Argument(help="A model of fraudloop.toml.")],
    why: Why = "",
    as_json: Json = False,
) -> None:
    """Have the next run rebuild the model's index from the table, if the index was deleted or changed.

    The manifest of that run lists every object on record, so the run costs as much as a first run over all data.
    Example: `fraudloop reindex fraud --why "somebody deleted the index"`
    """
    app = application()
    item = app.operations.reindex(model, whoami(app), why)
    if as_json:
        return emit({"model": item.name, "index": None})
    console.print(f"the next run of {model} builds its index anew; `fraudloop start {model}` begins one now")
    return None


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (land, reindex):
        app.command(rich_help_panel="Runs")(command)
