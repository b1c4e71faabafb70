"""`phase check` and `phase undo`: the plan's checkpoints and rollbacks, by the real APIs."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from cli.output import Json, console, emit
from cli.phases import core, foundation, production, release
from cli.phases.check import Check, Finding, as_json, as_markdown, run
from cli.phases.undo import STEPS, Request, carry_out
from cli.phases.world import World
from cli.stack import NAMED

PHASES: dict[int, tuple[str, tuple[Check, ...]]] = {
    1: ("Foundation", foundation.CHECKS),
    2: ("Core pipeline", core.CHECKS),
    3: ("End to end", release.CHECKS),
    4: ("Production", production.CHECKS),
}
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
    """Ask each of the phase's questions; the exit status is 0 only if every answer is yes."""
    name, checks = PHASES[number]
    world = World(model=model, stack=stack, wait=wait, parity=str(parity))
    asked = [c for c in checks if only.lower() in c.name.lower()]
    title = f"Phase {number}: {name}"
    findings = run(asked, world, (lambda f: None) if as_json_ else _tell)
    report(title, findings, out, as_json_)


def report(title: str, findings: list[Finding], out: Path | None, print_json: bool) -> None:
    """Write and print what was found; ends with status 1 if anything does not hold."""
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.with_suffix(".md").write_text(as_markdown(title, findings))
        import json

        out.with_suffix(".json").write_text(json.dumps(as_json(title, findings), indent=1) + "\n")
    if print_json:
        emit(as_json(title, findings))
    else:
        console.print(f"[bold]{title}[/]: {sum(f.ok for f in findings)} of {len(findings)} checks hold")
    if not findings or not all(f.ok for f in findings):
        raise typer.Exit(1)


def _tell(finding: Finding) -> None:
    mark = "[green]✓[/]" if finding.ok else "[red]✗[/]"
    console.print(f"{mark} {finding.plan:<8} {finding.name}: {escape(finding.said)} [dim]{finding.seconds:.1f} s[/]")
    if not finding.ok:
        console.print(f"           [yellow]→ {escape(finding.do)}[/]")


@app.command()
def undo(
    number: Number,
    why: Annotated[str, typer.Option(help="The reason, for the history.")],
    stack: Stack = "",
    model: Model = "fraud",
    to: Annotated[str, typer.Option(help="The version to serve again (phases 3 and 4).")] = "",
    roles: Annotated[str, typer.Option(help="The stack of the pods' roles (phase 1).")] = "fraudloop-roles",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Go back behind the phase: says what it will do, asks, and may be repeated. Data is never deleted."""
    world, steps = World(model=model, stack=stack), STEPS[number]
    console.print(f"To undo phase {number} I will:")
    for n, step in enumerate(steps, 1):
        console.print(f"  {n}. {step.says}")
    if not yes:
        typer.confirm("Shall I?", abort=True)
    who = str(world.aws("sts").get_caller_identity()["Arn"])
    carry_out(steps, world, Request(who, why, to, roles), console.print)
