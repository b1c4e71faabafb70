"""`fraudloop`: the command line. One module a group of commands; this one only registers them."""

from typing import Any

import typer
from typer.core import TyperGroup

from cli.commands import (
    cost,
    data,
    dlq,
    doctor,
    nightly,
    operations,
    publish,
    quarantine,
    runs,
    schedule,
    slo,
    system,
    train,
    tune,
)
from cli.migration import baseline, parity, phase, sagemaker
from cli.output import Markup, errors, quoted
from local.state_dir import AlreadyRunning
from local.system import DidNotStart
from statemachine.contracts.errors import FraudloopError

HELP = """
New transactions land in S3; some time later a better fraud model serves on Triton, or the reason why not is on record.

**On this machine**: `fraudloop demo` shows the whole loop; `fraudloop up` starts it and keeps it running.

**Against AWS**: FRAUDLOOP_STACK names the deployed stack. Without it, all commands speak to the local system that runs
in `.fraudloop/`.
"""
EXPECTED = (FraudloopError, AlreadyRunning, DidNotStart, FileExistsError)


class Commands(TyperGroup):
    """Says what was wrong in one sentence; a traceback is for errors that we did not foresee."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an error of ours ends with status 1."""
        try:
            return super().invoke(ctx)
        except EXPECTED as error:
            errors.print(Markup(f"[bold red]Error:[/] {quoted(error)}"), soft_wrap=True)
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=Commands, help=HELP, no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_show_locals=False
)
for group in (
    *(system, data, runs, nightly, operations, quarantine, dlq),
    *(publish, train, tune, baseline, parity, cost, slo, schedule, sagemaker),
):
    group.register(app)
app.add_typer(doctor.app, name="doctor", rich_help_panel="Cluster")
app.add_typer(phase.app, name="phase", rich_help_panel="Cluster")

if __name__ == "__main__":
    app()
