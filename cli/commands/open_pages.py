"""`open`: the evaluation report of a run, or its page in KFP."""

import tempfile
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from cli.connection import application
from cli.output import console
from statemachine.bootstrap import App
from statemachine.contracts.errors import OperationRefused
from statemachine.contracts.stage import Stage
from statemachine.core.run import Run

LARGEST = 64 * 1024 * 1024


def open_(
    run_id: Annotated[str, typer.Argument(metavar="RUN")],
    kfp: Annotated[bool, typer.Option("--kfp", help="The run's page in KFP, not its report.")] = False,
    only_print: Annotated[bool, typer.Option("--print", help="Print the path or URL, open nothing.")] = False,
) -> None:
    """Open a run's report.html in the browser, or its KFP page if it has no report yet; prints where it is.

    Example: `fraudloop open fraud-7`
    """
    app = application()
    run = app.store.run(run_id)
    report = "" if kfp else run.output(Stage.EVALUATE, "report_html")
    where = _fetched(app, run, report) if report else _kfp_page(app, run)
    console.print(where, soft_wrap=True)
    if not only_print:
        webbrowser.open(where)


def _fetched(app: App, run: Run, uri: str) -> str:
    """The report as a file of this machine."""
    if not uri.startswith("s3://"):
        return uri
    body = app.files.read(uri, LARGEST)
    if body is None:
        raise OperationRefused(
            f"the report of {run.id} is gone: {uri}; `fraudloop why {run.id}` tells what is on record"
        )
    path = Path(tempfile.mkdtemp(prefix="fraudloop-")) / f"{run.id}-report.html"
    path.write_bytes(body)
    return str(path)


def _kfp_page(app: App, run: Run) -> str:
    if not run.kfp_id:
        raise OperationRefused(f"{run.id} has neither a report nor a KFP run yet; `fraudloop show {run.id}` says why")
    if not app.settings.kfp_ui_url:
        raise OperationRefused(f"FRAUDLOOP_KFP_UI_URL is not set: where KFP shows its pages; the run is {run.kfp_id}")
    return f"{app.settings.kfp_ui_url.rstrip('/')}/#/runs/details/{run.kfp_id}"


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command("open", rich_help_panel="Runs")(open_)
