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
    "cli",
    "clients",
    "fraudloop.toml",
    "local",
    "pipelines.toml",
    "pyproject.toml",
    "simulation",
    "statemachine",
    "template.yaml",
    "tests/adapters",
    "tests/cases",
    "tests/cli/judged_runs.py",
    "tests/cli/played_runs.py",
    "tests/clients",
    "tests/conftest.py",
    "tests/console",
    "tests/core",
    "tests/handlers/events",
    "tests/live",
    "tests/model",
    "tests/outcome.py",
    "tests/proof",
    "tests/scorelog",
    "tests/statemachine",
    "tests/training",
    "training",
)
BEGIN, END = "<!-- mutants: begin (written by `make mutants`) -->", "<!-- mutants: end -->"
ASSERTS = ("AssertionError", "assert ", "Failed: DID NOT RAISE")
LIMIT = 600.0  # seconds a suite; a mutant that hangs is not caught by that


@dataclass(frozen=True)
class Suite:
    """A part of the tests, cut to what a mutant needs. It is run for mutants of a file below one of `about`."""

    name: str
    arguments: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    about: tuple[str, ...] = ("statemachine",)


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
    "dies_anywhere",
    "what_the_bucket_holds",
    "costs_what_is_new",
    "says_all_it_may",
)
NOT_SO = " and ".join(f"not {slow}" for slow in SLOW)
UNIT = (
    "tests/core",
    "tests/statemachine",
    "tests/proof/test_two_deployments.py",
    "--ignore=tests/core/test_diagram.py",  # a page, not a property
    "--ignore=tests/core/test_gate.py",
    "--ignore=tests/statemachine/test_growth.py",  # needs the benchmarks
)
ADAPTERS = ("tests/adapters/test_kfp_failures.py", "tests/adapters/test_table_contract.py")
DATA = (
    "tests/training/test_conversion.py",
    "tests/training/test_corrections.py",
    "tests/training/test_known_labels.py",
    "tests/training/test_one_bad_object.py",
)
GRAPH = ("tests/model/test_history.py", "tests/model/test_causality.py")
CONSOLE = ("tests/console/test_console_acts.py", "tests/console/test_oidc.py", "tests/console/test_console_pages.py")
NOT_PROCESSES = "not process and not works_on_s3"
WINDOW = (
    "tests/training/test_preprocess.py",
    "tests/training/test_preprocess_stage.py",
    "tests/model/test_store.py",
    "-k",
    "window_bounds or before_the_history or another_length",
)
SUITES = (
    Suite("adapters", (*ADAPTERS, "-k", "not dynamodb"), about=("statemachine/adapters", "statemachine/contracts")),
    Suite("unit", (*UNIT, "-k", NOT_SO)),
    Suite(
        "data", (*DATA, "-k", "polars_panic or gzip or newest_delivery or case_files or report"), about=("training",)
    ),
    Suite("graph", (*GRAPH, "-k", "later or plain or report or windows"), about=("training/graph",)),
    Suite("evaluation", ("tests/model/test_evaluate.py", "-k", "not_proven"), about=("training/evaluation",)),
    Suite("console", CONSOLE, about=("cli/console",)),
    Suite("window", WINDOW, about=("training/data/dataset", "training/data/index", "training/graph")),
    Suite("client", ("tests/clients/test_scoring_client.py",), about=("clients/scoring",)),
    Suite("score log", ("tests/scorelog/test_archive.py", "-k", NOT_PROCESSES), about=("training/scorelog",)),
    Suite("landing", ("tests/scorelog/test_landing.py",), about=("training/scorelog/landing",)),
    Suite("live", ("tests/live/test_scripts.py",), about=("training/live",)),
    Suite("materialise", ("tests/live/test_materialise.py", "-k", "set_aside"), about=("training/live/materialise",)),
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


@dataclass(frozen=True)
class Ran:
    """How a suite ended: whether all of it passed, what it said last, and its failures by assertion."""

    passed: bool
    last_lines: str
    caught: tuple[Caught, ...] = ()


def trial(mutant: Mutant) -> Caught | None:
    """The suites that are about its file, on a copy of the source with that mutant, until one of them notices."""
    with tempfile.TemporaryDirectory(prefix="fraudloop-mutant-") as folder:
        copy = Path(folder)
        place_sources(copy)
        apply(mutant, copy)
        suites = [suite for suite in SUITES if mutant.file.startswith(suite.about)]
        return next((caught for suite in suites for caught in run(suite, copy).caught), None)


def unbroken() -> str:
    """Which suites do not pass on a copy without any mutant: what they say of a mutant would be worth nothing."""
    with tempfile.TemporaryDirectory(prefix="fraudloop-unbroken-") as folder:
        copy = Path(folder)
        place_sources(copy)
        ran = {suite.name: run(suite, copy) for suite in SUITES}
    return "\n".join(f"{name}: {result.last_lines}" for name, result in ran.items() if not result.passed)


def place_sources(copy: Path) -> None:
    """What the suites need, and nothing else: a mutant may write as it likes."""
    for name in COPIED:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)


def apply(mutant: Mutant, copy: Path) -> None:
    """Patch the copy. Raises `AssertionError` if the patch does not apply exactly once."""
    file = copy / mutant.file
    source = file.read_text()
    assert source.count(mutant.old) == 1, f"{mutant.name}: the patch applies {source.count(mutant.old)} times"
    file.write_text(source.replace(mutant.old, mutant.new))


def run(suite: Suite, copy: Path) -> Ran:
    """Run the suite, which ends at its second failure."""
    report = copy / f"{suite.name.replace(' ', '-')}.xml"
    command = [sys.executable, "-m", "pytest", "-q", "--maxfail=2", "-p", "no:cacheprovider"]
    command += [f"--junitxml={report}", "-o", "junit_family=xunit1"]  # the crash sweep counts its deaths in it
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", **dict(suite.environment)}
    try:
        done = subprocess.run(
            [*command, *suite.arguments], cwd=copy, env=environment, capture_output=True, text=True, timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        return Ran(False, f"took more than {LIMIT:.0f} s")
    caught = tuple(failures(suite, report)) if report.exists() else ()
    return Ran(done.returncode == 0, "\n".join(done.stdout.splitlines()[-5:]), caught)


def failures(suite: Suite, report: Path) -> Iterator[Caught]:
    """The failures that are assertions."""
    for case in ET.parse(report).iter("testcase"):
        for failure in case.iter("failure"):
            said = failure.get("message", "")
            if said.startswith(ASSERTS):
                yield Caught(suite.name, re.sub(r"\[.*", "", case.get("name", "")), said.splitlines()[0][:80])


def table(found: dict[Mutant, Caught | None]) -> str:
    """Markdown: each mutant, the property it breaks, and who noticed first."""
    lines = [
        f"{sum(map(bool, found.values()))} of {len(found)} mutants were caught by an assertion (`make mutants`).\n",
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
        whole = pool.submit(unbroken)
        found: dict[Mutant, Caught | None] = {}
        for mutant, caught in zip(chosen, pool.map(trial, chosen), strict=True):
            found[mutant] = caught
            by = f"{caught.suite}: {caught.test} ({caught.by})" if caught else ""
            print(f"{'caught  ' if caught else 'SURVIVED'} {mutant.name:<36} {by}", flush=True)
    if said := whole.result():
        print(f"these suites do not pass on the unbroken source:\n{said}")
        return 1
    seconds = time.monotonic() - begun
    print(f"{sum(map(bool, found.values()))} of {len(found)} mutants caught in {seconds:.0f} s")
    if not asked and PAGE.exists():
        write(PAGE, table(found))
    return 0 if all(found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
