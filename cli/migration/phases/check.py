"""A check: one question to an API, and what to do if it fails."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cli.explain import sentence
from cli.migration.phases.environment import Environment

MARKS = {True: "yes", False: "**no**", None: "not here"}


class CheckFailed(Exception):
    """The check does not hold; the message says what was found."""


@dataclass(frozen=True)
class PhaseCheck:
    """`probe` returns what it found, or raises: `CheckFailed`, or an error of the API's client.

    `needs` is what the local system lacks for the check, such as "a cluster". There the check is skipped, and the
    report
    says so.
    """

    plan: str
    name: str
    probe: Callable[[Environment], str]
    remedy: str
    needs: str = ""


@dataclass(frozen=True)
class Finding:
    """The result of one check; `ok` is None for a skipped one."""

    plan: str
    name: str
    ok: bool | None
    answer: str
    remedy: str
    seconds: float


def run(
    checks: Iterable[PhaseCheck], world: Environment, progress: Callable[[Finding], None] = lambda finding: None
) -> list[Finding]:
    """Run the checks in sequence. An error is a finding, so an API that fails hides no other check."""
    findings = []
    for check in checks:
        began = time.monotonic()
        ok, answer = _answer(check, world)
        remedy = check.remedy if ok is False else ""
        finding = Finding(check.plan, check.name, ok, answer, remedy, time.monotonic() - began)
        findings.append(finding)
        progress(finding)
    return findings


def _answer(check: PhaseCheck, world: Environment) -> tuple[bool | None, str]:
    if world.local and check.needs:
        return None, f"not asked here: it needs {check.needs}"
    try:
        return True, check.probe(world)
    except CheckFailed as no:
        return False, str(no)
    except Exception as error:  # noqa: BLE001 — whatever a check dies of is its answer; the other checks go on
        return False, f"cannot check: {sentence(error) or f'{type(error).__name__}: {_short(error)}'}"


def holds(findings: Iterable[Finding]) -> bool:
    """True if at least one check ran and all that ran hold."""
    answers = [finding.ok for finding in findings if finding.ok is not None]
    return bool(answers) and all(answers)


def tally(findings: Sequence[Finding]) -> str:
    """Return how many checks hold, and how many were skipped."""
    held, elsewhere = sum(f.ok is True for f in findings), sum(f.ok is None for f in findings)
    summary = f"{held} of {len(findings)} checks hold"
    return f"{summary}, {elsewhere} skipped on this machine" if elsewhere else summary


def _short(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    status = getattr(error, "status", None)
    text = f"{status} {reason}" if status and reason else str(error)
    return text.strip().splitlines()[0][:300] if text.strip() else "no message"


def as_json(title: str, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the report as JSON values."""
    return {"title": title, "ok": holds(findings), "checks": [asdict(f) for f in findings]}


def as_markdown(title: str, findings: Sequence[Finding]) -> str:
    """Return the report as Markdown: a table, then what to do."""
    lines = [
        f"# {title}",
        "",
        f"{tally(findings)}.",
        "",
        "| plan | check | | found |",
        "|---|---|---|---|",
    ]
    lines += [f"| {f.plan} | {f.name} | {MARKS[f.ok]} | {_cell(f.answer)} |" for f in findings]
    wrong = [f for f in findings if f.ok is False]
    if wrong:
        lines += ["", "## What to do", ""]
        lines += [f"- **{f.name}**: {f.remedy}" for f in wrong]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
