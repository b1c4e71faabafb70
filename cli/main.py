"""`fraudloop`: the command line. Each group of commands has a module; this one registers them."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cli.commands import (
    audit,
    compare,
    console,
    cost,
    data,
    diff,
    dlq,
    doctor,
    drift,
    land,
    live,
    nightly,
    open_pages,
    operations,
    publish,
    quarantine,
    runs,
    schedule,
    score,
    serve,
    slo,
    status,
    system,
    train,
    tune,
    why,
)
from cli.explain import sentence
from cli.migration import baseline, parity, phase, sagemaker
from cli.output import Markup, errors, quoted
from cli.output import console as terminal

HELP = """
New transactions land in S3; some time later a better fraud model serves on Triton, or the reason why not is on record.

**On this machine**: `fraudloop demo` shows the whole loop; `fraudloop up` starts it and keeps it running.

**Against AWS**: FRAUDLOOP_STACK names the deployed stack. Without it, all commands speak to the local system that runs
in `.fraudloop/`.
"""
UsageError: Any = typer.BadParameter.__base__  # typer carries its own click, under another name in each release


class Commands(TyperGroup):
    """Says what was wrong in one sentence; a traceback is for errors that we did not foresee."""

    def make_context(self, *arguments: Any, **more: Any) -> Any:
        """Read the options before the command's name."""
        with foreseen():
            return super().make_context(*arguments, **more)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an error that was foreseen ends with status 1, a wrong call with status 2."""
        with foreseen():
            return super().invoke(ctx)


@contextmanager
def foreseen() -> Iterator[None]:
    """Print foreseen errors as one sentence on stderr, in place of a traceback or a box."""
    try:
        yield
    except UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # it prints the help
            raise
        said = " ".join(error.format_message().split()).rstrip(".").replace("Value error, ", "")
        _print_error(f"{said}{'' if said.endswith('?') else ';'} `{_called(error)} --help` says what it takes.")
        raise typer.Exit(2) from error
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        explained = sentence(error)
        if explained is None:
            raise
        _print_error(explained)
        raise typer.Exit(1) from error


def _print_error(text: str) -> None:
    errors.print(Markup(f"[bold red]Error:[/] {quoted(text)}"), soft_wrap=True)


def _called(error: Any) -> str:
    context: Any = error.ctx
    names: list[str] = []
    while context is not None and context.parent is not None:
        names.insert(0, str(context.info_name))
        context = context.parent
    return " ".join(("fraudloop", *names))


app = typer.Typer(
    cls=Commands, help=HELP, no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_show_locals=False
)


def _version(wanted: bool) -> None:
    if wanted:
        terminal.print(f"fraudloop {version('fraudloop')}")
        raise typer.Exit


@app.callback()
def main(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """The options before a command's name."""


for group in (
    *(status, system, land, data, runs, why, compare, diff, open_pages, nightly, operations, quarantine, dlq, audit),
    *(console, publish, train, serve, score, live, tune, baseline, parity, cost, slo, drift, schedule, sagemaker),
):
    group.register(app)
app.add_typer(doctor.app, name="doctor", rich_help_panel="Cluster")
app.add_typer(phase.app, name="phase", rich_help_panel="Cluster")

if __name__ == "__main__":
    app()
