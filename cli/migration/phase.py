"""`phase check` and `phase undo`: the migration plan's checkpoints and rollbacks, by the real APIs."""

from pathlib import Path
from typing import Annotated

import typer

from cli.connection import enter_local
from cli.output import Json, console
from cli.reasons import Why
from cli.stack import NAMED

app = typer.Typer(no_args_is_help=True, help="Check a phase of the migration, or undo it.")
Number = Annotated[int, typer.Argument(min=1, max=4, help="The phase.")]
Stack = Annotated[
    str, typer.Option(help="The CloudFormation stack whose outputs say where everything is.", envvar=NAMED)
]
Model = Annotated[str, typer.Option(help="The model.")]


@app.command()
def check(
    number: Number,
    stack: Stack = "",
    model: Model = "fraud",
    only: Annotated[str, typer.Option(help="Only checks whose name contains this.")] = "",
    wait: Annotated[float, typer.Option(help="Seconds that a pod or a pipeline may take.")] = 900.0,
    parity: Annotated[Path, typer.Option(help="What `fraudloop parity --out` wrote.")] = Path("parity/parity.json"),
    out: Annotated[Path | None, typer.Option(help="Write the report to OUT.md and OUT.json.")] = None,
    as_json_: Json = False,
) -> None:
    """Run the phase's checks. The exit status is 0 only if all of them hold.

    On the local system (`fraudloop up`) it runs what one machine can check, and lists what needs a cluster.
    """
    from cli.migration.phases import (
        reporting,
        table,
    )  # imported late: it loads kubernetes and kfp, two seconds that --help does not need
    from cli.migration.phases.environment import Environment

    local, (name, checks) = not stack and enter_local(), table.PHASES[number]
    world = Environment(model=model, stack=stack, wait=wait, parity=str(parity), local=local)
    reporting.answer(f"Phase {number}: {name}", checks, only, world, out, as_json_)


@app.command()
def undo(
    number: Number,
    why: Why = "",
    stack: Stack = "",
    model: Model = "fraud",
    to: Annotated[str, typer.Option(help="The version to serve again (phases 3 and 4).")] = "",
    roles: Annotated[str, typer.Option(help="The stack of the pods' roles (phase 1).")] = "fraudloop-roles",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Roll the phase back. Lists the steps, asks for confirmation, and can be repeated. Data is never deleted."""
    from cli.migration.phases.environment import Environment
    from cli.migration.phases.undo import STEPS, UndoRequest, carry_out

    world, steps = Environment(model=model, stack=stack), STEPS[number]
    console.print(f"To undo phase {number}, these steps run:")
    for n, step in enumerate(steps, 1):
        console.print(f"  {n}. {step.description}")
    if not yes:
        typer.confirm("Shall I?", abort=True)
    who = str(world.aws("sts").get_caller_identity()["Arn"])
    carry_out(steps, world, UndoRequest(who, why, to, roles), console.print)
