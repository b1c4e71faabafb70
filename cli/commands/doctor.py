"""`doctor`: checks everything that the loop and its operators need."""

from pathlib import Path
from typing import Annotated

import typer

from cli.connection import enter_local
from cli.migration.phase import Model, Stack
from cli.output import Json

app = typer.Typer(help="Check everything that the loop needs.")


@app.callback(invoke_without_command=True)
def doctor(
    stack: Stack = "",
    model: Model = "fraud",
    only: Annotated[
        str, typer.Option(help="Only checks whose name contains this, or of a part: tools, aws, kfp, k8s.")
    ] = "",
    out: Annotated[Path | None, typer.Option(help="Write the report to OUT.md and OUT.json.")] = None,
    as_json_: Json = False,
) -> None:
    """Run every check of an installation. Each failure says what to do.

    On the local system it runs the checks that one machine can answer. Example: `fraudloop doctor --only tools`
    """
    from cli.migration.phases import (
        installation,
        reporting,
    )  # late: it brings kubernetes and kfp, two seconds that --help spares
    from cli.migration.phases.environment import Environment

    of_machine = only == "tools"  # asked of this machine, whatever runs on it
    world = Environment(local=not of_machine and not stack and enter_local(), model=model, stack=stack)
    reporting.answer("Doctor", installation.CHECKS, only, world, out, as_json_)
