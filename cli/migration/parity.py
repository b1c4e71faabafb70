"""`parity`: compares a run with the SageMaker training job that it replaces. Go or no-go."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cli.commands import cost_queries
from cli.connection import application
from cli.output import Json, Markup, console, emit, table
from statemachine.reporting.parity import Parity, compare, markdown


def parity(
    run: Annotated[str, typer.Argument(help="The run to compare.")],
    baseline: Annotated[Path, typer.Option(help="A baseline file (`fraudloop baseline import`).")] = Path(
        "baseline.json"
    ),
    out: Annotated[Path | None, typer.Option(help="A folder for parity.md and parity.json.")] = None,
    as_json: Json = False,
) -> None:
    """Accuracy within 0.01, F1 within 0.02, AUC within 0.01, training time within 20 %: only worse counts.

    Ends with status 1 on a no-go. Example: `fraudloop parity fraud-7 --baseline baseline.json --out parity/`
    """
    app, held = application(), cost_queries.baseline(baseline)
    found = compare(held.measured, cost_queries.measured(app, app.store.run(run)))
    title = f"{run} against {held.source['arn']}"
    record = {"run": run, "baseline": dict(held.source), "go": found.go, "rows": [asdict(row) for row in found.rows]}
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / "parity.md").write_text(markdown(found, title))
        (out / "parity.json").write_text(json.dumps(record, indent=1) + "\n")
    if as_json:
        emit(record)
    else:
        _show(found, title)
    if not found.go:
        raise typer.Exit(1)


def _show(found: Parity, title: str) -> None:
    rows = [
        [row.name, f"{row.baseline:.4f}", f"{row.ours:.4f}", f"{row.ours - row.baseline:+.4f}", f"{row.limit:.4f}",
         Markup("[green]holds[/]" if row.holds else "[bold red]worse[/]")]
        for row in found.rows
    ]  # fmt: skip
    console.print(table(title, ["metric", ">baseline", ">ours", ">difference", ">limit", ""], rows))
    console.print(Markup("[bold green]GO[/]" if found.go else "[bold red]NO GO[/]"))


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(rich_help_panel="Production")(parity)
