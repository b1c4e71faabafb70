"""How checks are asked and told: each answer as it comes, then a report; the exit status is 0 only if all hold."""

import json
from collections.abc import Sequence
from pathlib import Path

import typer

from cli.migration.phases.check import Finding, PhaseCheck, as_json, as_markdown, holds, run, tally
from cli.migration.phases.environment import Environment
from cli.output import Markup, console, emit, quoted
from statemachine.contracts.errors import Unknown


def answer(
    title: str, checks: Sequence[PhaseCheck], only: str, world: Environment, out: Path | None, print_json: bool
) -> None:
    """Ask those of `checks` whose name contains `only`, and tell."""
    asked = [check for check in checks if only.lower() in check.name.lower() or only == check.plan]
    if not asked:
        parts = ", ".join(dict.fromkeys(check.plan for check in checks))
        raise Unknown(f"no check has {only!r} in its name; --only also takes one of the parts {parts}")
    findings = run(asked, world, (lambda finding: None) if print_json else _tell)
    if out:
        _write(title, findings, out)
    if print_json:
        emit(as_json(title, findings))
    else:
        console.print(Markup(f"[bold]{quoted(title)}[/]: {quoted(tally(findings))}"))
    if not holds(findings):
        raise typer.Exit(1)


def _write(title: str, findings: list[Finding], out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".md").write_text(as_markdown(title, findings))
    out.with_suffix(".json").write_text(json.dumps(as_json(title, findings), indent=1) + "\n")


def _tell(finding: Finding) -> None:
    mark = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[dim]–[/]"}[finding.ok]
    name, said = quoted(finding.name), quoted(finding.said)
    console.print(Markup(f"{mark} {finding.plan:<8} {name}: {said} [dim]{finding.seconds:.1f} s[/]"))
    if finding.do:
        console.print(Markup(f"           [yellow]→ {quoted(finding.do)}[/]"))
