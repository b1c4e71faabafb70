"""`quarantine list|put|release`: objects that teach no run, and why."""

from typing import Annotated

import typer

from cli.connection import application, known, whoami
from cli.output import Json, clock, console, emit, plain, table
from cli.reasons import Why
from statemachine.core.window import Object
from statemachine.intake import NOWHERE

quarantine = typer.Typer(help="Objects that teach no run, and why.", no_args_is_help=True)
Model = Annotated[str, typer.Option(help="The model.")]
Key = Annotated[str, typer.Argument(metavar="KEY", help="The object's key, as `quarantine list` or `show` print it.")]


@quarantine.command("list")
def listed(model: Model = "", as_json: Json = False) -> None:
    """List what is set aside: by a check, by a person, or because it belongs to no model."""
    app = application()
    models = [model if model == NOWHERE else known(app, model)] if model else [*app.policies, NOWHERE]
    found = [(name, each) for name in models for each in app.intake.quarantined(name)]
    if as_json:
        return emit([plain(each) | {"model": name} for name, each in found])
    rows = [[name, each.key, each.kind.value, clock(each.arrived_at), each.reason] for name, each in found]
    console.print(table(f"{len(found)} objects are quarantined", ["model", "object", "kind", "arrived", "why"], rows))
    return None


@quarantine.command()
def put(key: Key, why: Why = "", model: Model = "fraud", as_json: Json = False) -> None:
    """Set an object aside: no run that begins from now on learns from it.

    Example: `fraudloop quarantine put data/fraud/day.csv --why "the labels are shuffled"`
    """
    app = application()
    _tell(app.operations.quarantine(model, key, whoami(app), why), "is excluded from future runs", as_json)


@quarantine.command()
def release(key: Key, why: Why = "", model: Model = "fraud", as_json: Json = False) -> None:
    """Release an object: it joins the next run, which checks it again.

    Example: `fraudloop quarantine release data/fraud/day.csv --why "it was right after all"`
    """
    app = application()
    _tell(app.operations.release_object(model, key, whoami(app), why), "joins the next run", as_json)


def _tell(each: Object, what: str, as_json: bool) -> None:
    if as_json:
        return emit(plain(each))
    console.print(f"{each.key} {what}")
    return None


def register(app: typer.Typer) -> None:
    """Add this group."""
    app.add_typer(quarantine, name="quarantine", rich_help_panel="People")
