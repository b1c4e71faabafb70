"""Runs checks and reports them: each finding as it arrives, then a summary. The exit status is 0 only if all hold."""

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
    """Run the checks whose name or plan section contains `only`, and report them."""
    selected = [check for check in checks if only.lower() in check.name.lower() or only == check.plan]
    if not selected:
        parts = ", ".join(dict.fromkeys(check.plan for check in checks))
        raise Unknown(f"no check has {only!r} in its name; --only also takes one of the parts {parts}")
    findings = run(selected, world, (lambda finding: None) if print_json else _print_finding)
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


def _print_finding(finding: Finding) -> None:
    mark = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[dim]–[/]"}[finding.ok]
    name, answer = quoted(finding.name), quoted(finding.answer)
    console.print(Markup(f"{mark} {finding.plan:<8} {name}: {answer} [dim]{finding.seconds:.1f} s[/]"))
    if finding.remedy:
        console.print(Markup(f"           [yellow]→ {quoted(finding.remedy)}[/]"))
