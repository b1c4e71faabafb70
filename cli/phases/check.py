"""What a check is: a question to an API, in one sentence, with what to do when the answer is no."""

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from cli.phases.world import World


class No(Exception):
    """The answer is no; the message says what was found."""


@dataclass(frozen=True)
class Check:
    """`ask` returns what it saw, or raises: `No`, or whatever the API's client raises."""

    plan: str
    name: str
    ask: Callable[[World], str]
    do: str


@dataclass(frozen=True)
class Finding:
    """What came of one check."""

    plan: str
    name: str
    ok: bool
    said: str
    do: str
    seconds: float


def run(checks: Iterable[Check], world: World, tell: Callable[[Finding], None] = lambda finding: None) -> list[Finding]:
    """Ask each check, one after the other; an error is a finding, so one broken API hides no other."""
    findings = []
    for check in checks:
        began = time.monotonic()
        try:
            ok, said = True, check.ask(world)
        except No as no:
            ok, said = False, str(no)
        except Exception as error:
            ok, said = False, f"could not ask: {type(error).__name__}: {_short(error)}"
        finding = Finding(check.plan, check.name, ok, said, "" if ok else check.do, time.monotonic() - began)
        findings.append(finding)
        tell(finding)
    return findings


def _short(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    status = getattr(error, "status", None)
    text = f"{status} {reason}" if status and reason else str(error)
    return text.strip().splitlines()[0][:300] if text.strip() else "no message"


def as_json(title: str, findings: list[Finding]) -> dict[str, Any]:
    """The report for programs."""
    return {"title": title, "ok": all(f.ok for f in findings), "checks": [asdict(f) for f in findings]}


def as_markdown(title: str, findings: list[Finding]) -> str:
    """The report for people: a table, then what to do."""
    held = sum(f.ok for f in findings)
    lines = [
        f"# {title}",
        "",
        f"{held} of {len(findings)} checks hold.",
        "",
        "| plan | check | | found |",
        "|---|---|---|---|",
    ]
    lines += [f"| {f.plan} | {f.name} | {'yes' if f.ok else '**no**'} | {_cell(f.said)} |" for f in findings]
    wrong = [f for f in findings if not f.ok]
    if wrong:
        lines += ["", "## What to do", ""]
        lines += [f"- **{f.name}**: {f.do}" for f in wrong]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
