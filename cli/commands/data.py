"""`land`: put files where a model's data arrive."""

from pathlib import Path
from typing import Annotated

import boto3
import typer

from cli.connection import application
from cli.output import Json, console, emit
from statemachine.contracts.errors import Unknown


def land(
    files: Annotated[
        list[Path],
        typer.Argument(exists=True, dir_okay=False, help="CSV (also gzipped) or Parquet files in TabFormer's columns."),
    ],
    model: Annotated[str, typer.Option(help="The model whose prefix they go under.")] = "fraud",
    as_json: Json = False,
) -> None:
    """Upload files into the data bucket, under the model's prefix, as any producer of data would.

    S3 then says "Object Created"; they join the open window, and a run begins when it closes. Example:
    `fraudloop land day.csv`
    """
    app = application()
    if model not in app.policies:
        raise Unknown(f"there is no model {model!r}; fraudloop.toml names {', '.join(app.policies)}")
    policy, bucket, s3 = app.policies[model], app.settings.data_bucket, boto3.client("s3")
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


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(rich_help_panel="Runs")(land)
