"""`publish`: the compiled pipelines as versions in KFP, named by their content's hash."""

import os
from pathlib import Path
from typing import Annotated

import typer

from cli.connection import connect
from cli.output import console
from local.system import PIPELINES
from statemachine.contracts.errors import Misconfigured


def publish(
    folder: Annotated[Path, typer.Argument(help="What `make build` wrote.")] = PIPELINES,
) -> None:
    """Upload the compiled pipelines to KFP. A version that is there already is left alone, so this may be repeated.

    Example: `make build && fraudloop publish`
    """
    connect()
    url = os.environ.get("FRAUDLOOP_KFP_URL")
    if not url:
        raise Misconfigured("FRAUDLOOP_KFP_URL is not set: where KFP's API answers, an output of the stack")
    from training.pipelines import publish as pipelines  # late: it brings KFP's client, a second that --help spares

    access = {name: os.environ.get(f"FRAUDLOOP_KFP_{name.upper()}", "") for name in ("token", "namespace", "ca")}
    try:
        published = pipelines.publish(url, folder, **access)
    except (OSError, ValueError) as error:
        raise Misconfigured(f"{folder} holds no compiled pipelines ({error}); `make build` writes them") from error
    for one in published:
        console.print(f"{one.name} {one.version_name} {'uploaded' if one.created else 'was there'}")


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(rich_help_panel="Pipelines")(publish)
