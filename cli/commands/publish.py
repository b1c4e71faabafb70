"""`publish`: the compiled pipelines as versions in KFP, named by their content's hash."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from cli.connection import connect
from local.system import PIPELINES, ROOT


def publish(
    folder: Annotated[Path, typer.Argument(help="What `make build` wrote.")] = PIPELINES,
) -> None:
    """Upload the compiled pipelines to KFP. A version that is there already is left alone, so this may be repeated."""
    connect()
    done = subprocess.run([sys.executable, "-m", "training.pipelines.publish", str(folder)], cwd=ROOT, check=False)
    raise typer.Exit(done.returncode)


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(rich_help_panel="Pipelines")(publish)
