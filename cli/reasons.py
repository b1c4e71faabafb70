"""`--why`: no act of a person goes on record without a reason."""

import sys
from typing import Annotated

import typer


def stated(why: str) -> str:
    """The reason; a terminal is asked for one that is missing. Raises `typer.BadParameter`."""
    while not why.strip() and sys.stdin.isatty():
        why = typer.prompt("Why")
    if not why.strip():
        raise typer.BadParameter('no reason is given; say one for the record, as in --why "the labels were wrong"')
    return why.strip()


Why = Annotated[
    str,
    typer.Option("--why", callback=stated, help="The reason, for the record: required, and asked for on a terminal."),
]
