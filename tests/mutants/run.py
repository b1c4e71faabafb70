"""`make mutants`: breaks one safety property after the other in a copy of the source, and sees which tests notice.

A mutant is caught by an assertion that fails (or an expected error that does not come), never by a crash of its own.
The table goes into `docs/reliability.md`; the exit status is 0 only if every mutant was caught.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mutations import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"
COPIED = (
    "statemachine",
    "simulation/memory",
    "tests/core",
    "tests/statemachine",
    "tests/proof",
    "tests/handlers/events",
)
BEGIN, END = "<!-- mutants: begin (written by `make mutants`) -->", "<!-- mutants: end -->"
ASSERTS = ("AssertionError", "assert ", "Failed: DID NOT RAISE")
LIMIT = 600.0  # seconds a suite; a mutant that hangs is not caught by that


@dataclass(frozen=True)
class Suite:
    """A part of the tests, cut to what a mutant needs."""

    name: str
    arguments: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()


SLOW = (
    "any_move",
    "total_and_pure",
    "burst",
    "any_report",
    "any_bytes",
    "any_text",
    "terminal_is",
    "two_writes",
    "surviv",
)
UNIT = ("tests/core", "tests/statemachine", "--ignore=tests/core/test_diagram.py", "--ignore=tests/core/test_gate.py")
SUITES = (
    Suite("unit", (*UNIT, "-k", " and ".join(f"not {slow}" for slow in SLOW))),
    Suite("crash sweep", ("tests/proof/test_crash_sweep.py",), (("FRAUDLOOP_CRASH_STRIDE", "30"),)),
    Suite(
        "interleavings",
        ("tests/proof/test_interleavings.py",),
        (("FRAUDLOOP_EXAMPLES", "40"), ("FRAUDLOOP_NO_SHRINK", "1")),
    ),
)


@dataclass(frozen=True)
class Caught:
    """Which test of which suite noticed, and by what."""

    suite: str
    test: str
    by: str


def trial(mutant: Mutant | None) -> Caught | None:
    """The suites on a copy of the source with that mutant (or on the unbroken copy), until one of them notices."""
    with tempfile.TemporaryDirectory(prefix="fraudloop-mutant-") as folder:
        copy = Path(folder)
        for name in COPIED:
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        (copy / "local" / "__init__.py").touch()
        for name in ("pyproject.toml", "fraudloop.toml"):
            shutil.copy(ROOT / name, copy)
        if mutant:
            apply(mutant, copy)
        return next((caught for suite in SUITES for caught in run(suite, copy)), None)


def apply(mutant: Mutant, copy: Path) -> None:
    """Patch the copy. Raises `AssertionError` if the patch does not apply exactly once."""
    file = copy / mutant.file
    source = file.read_text()
    assert source.count(mutant.old) == 1, f"{mutant.name}: the patch applies {source.count(mutant.old)} times"
    file.write_text(source.replace(mutant.old, mutant.new))


def run(suite: Suite, copy: Path) -> Iterator[Caught]:
    """The suite's first failures by assertion, at most one a suite."""
    report = copy / f"{suite.name.replace(' ', '-')}.xml"
    command = [sys.executable, "-m", "pytest", "-q", "--maxfail=2", "-p", "no:cacheprovider", f"--junitxml={report}"]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", **dict(suite.environment)}
    try:
        subprocess.run([*command, *suite.arguments], cwd=copy, env=environment, capture_output=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        print(f"the suite {suite.name} took more than {LIMIT:.0f} s", flush=True)
        return
    if report.exists():
        yield from list(failures(suite, report))[:1]


def failures(suite: Suite, report: Path) -> Iterator[Caught]:
    """The failures that are assertions."""
    for case in ET.parse(report).iter("testcase"):
        for failure in case.iter("failure"):
            said = failure.get("message", "")
            if said.startswith(ASSERTS):
                yield Caught(suite.name, re.sub(r"\[.*", "", case.get("name", "")), said.splitlines()[0][:80])


def table(found: dict[Mutant, Caught | None], seconds: float) -> str:
    """Markdown: each mutant, the property it breaks, and who noticed first."""
    lines = [
        f"{sum(map(bool, found.values()))} of {len(found)} mutants were caught by an assertion "
        f"(`make mutants`, {seconds / 60:.0f} minutes).\n",
        "| mutant | the property it breaks | suite | test that noticed first |",
        "|---|---|---|---|",
    ]
    for mutant, caught in found.items():
        by = f"{caught.suite} | `{caught.test}`" if caught else "**survived** | "
        lines.append(f"| {mutant.name} | {mutant.property} | {by} |")
    return "\n".join(lines)


def write(page: Path, text: str) -> None:
    """Replace what stands between the two marks."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def main() -> int:
    """All mutants, or those whose names contain an argument."""
    begun, asked = time.monotonic(), sys.argv[1:]
    chosen = [m for m in MUTANTS if not asked or any(word in m.name for word in asked)]
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 2) as pool:
        unbroken = pool.submit(trial, None)
        found: dict[Mutant, Caught | None] = {}
        for mutant, caught in zip(chosen, pool.map(trial, chosen), strict=True):
            found[mutant] = caught
            by = f"{caught.suite}: {caught.test} ({caught.by})" if caught else ""
            print(f"{'caught  ' if caught else 'SURVIVED'} {mutant.name:<36} {by}", flush=True)
    if unbroken.result():
        print("the unbroken source fails:", unbroken.result())
        return 1
    seconds = time.monotonic() - begun
    print(f"{sum(map(bool, found.values()))} of {len(found)} mutants caught in {seconds:.0f} s")
    if not asked and PAGE.exists():
        write(PAGE, table(found, seconds))
    return 0 if all(found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
