"""What a check is: a question to an API, in one sentence, with what to do when the answer is no."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cli.migration.phases.environment import Environment

MARKS = {True: "yes", False: "**no**", None: "not here"}


class CheckFailed(Exception):
    """The answer is no; the message says what was found."""


@dataclass(frozen=True)
class PhaseCheck:
    """`ask` returns what it saw, or raises: `CheckFailed`, or whatever the API's client raises.

    `needs` is what the local system lacks for it, "a cluster" say: there it is not asked, and the report says so.
    """

    plan: str
    name: str
    ask: Callable[[Environment], str]
    do: str
    needs: str = ""


@dataclass(frozen=True)
class Finding:
    """What came of one check; `ok` is None for one that cannot be asked here."""

    plan: str
    name: str
    ok: bool | None
    said: str
    do: str
    seconds: float


def run(
    checks: Iterable[PhaseCheck], world: Environment, tell: Callable[[Finding], None] = lambda finding: None
) -> list[Finding]:
    """Ask each check, one after the other; an error is a finding, so one broken API hides no other."""
    findings = []
    for check in checks:
        began = time.monotonic()
        ok, said = _answer(check, world)
        do = check.do if ok is False else ""
        finding = Finding(check.plan, check.name, ok, said, do, time.monotonic() - began)
        findings.append(finding)
        tell(finding)
    return findings


def _answer(check: PhaseCheck, world: Environment) -> tuple[bool | None, str]:
    if world.local and check.needs:
        return None, f"not asked on this machine: it needs {check.needs}"
    try:
        return True, check.ask(world)
    except CheckFailed as no:
        return False, str(no)
    except Exception as error:  # noqa: BLE001 — whatever a question dies of is its answer; the other checks go on
        return False, f"could not ask: {type(error).__name__}: {_short(error)}"


def holds(findings: Iterable[Finding]) -> bool:
    """Something was asked, and every answer was yes."""
    answers = [finding.ok for finding in findings if finding.ok is not None]
    return bool(answers) and all(answers)


def tally(findings: Sequence[Finding]) -> str:
    """How many hold, and how many cannot be asked here."""
    held, elsewhere = sum(f.ok is True for f in findings), sum(f.ok is None for f in findings)
    told = f"{held} of {len(findings)} checks hold"
    return f"{told}, {elsewhere} cannot be asked on this machine" if elsewhere else told


def _short(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    status = getattr(error, "status", None)
    text = f"{status} {reason}" if status and reason else str(error)
    return text.strip().splitlines()[0][:300] if text.strip() else "no message"


def as_json(title: str, findings: Sequence[Finding]) -> dict[str, Any]:
    """The report for programs."""
    return {"title": title, "ok": holds(findings), "checks": [asdict(f) for f in findings]}


def as_markdown(title: str, findings: Sequence[Finding]) -> str:
    """The report for people: a table, then what to do."""
    lines = [
        f"# {title}",
        "",
        f"{tally(findings)}.",
        "",
        "| plan | check | | found |",
        "|---|---|---|---|",
    ]
    lines += [f"| {f.plan} | {f.name} | {MARKS[f.ok]} | {_cell(f.said)} |" for f in findings]
    wrong = [f for f in findings if f.ok is False]
    if wrong:
        lines += ["", "## What to do", ""]
        lines += [f"- **{f.name}**: {f.do}" for f in wrong]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
