"""What a run of the tests says at its end: how long each folder took, what was skipped and how to have it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# Folders whose tests start servers, train models, call other programs or walk thousands of histories. All others are
# run by `make test-fast`, which has to end within two minutes on two cores.
SLOW_FOLDERS = frozenset(
    {
        "aws",
        "console",
        "deploy",
        "docs",
        "e2e",
        "live",
        "local",
        "model",
        "mutants",
        "phases",
        "proof",
        "scorelog",
        "serving",
        "training",
        "wire",
    }
)


def folder_of(nodeid: str) -> str:
    """The folder of tests/ that a test lies in."""
    parts = nodeid.split("::")[0].split("/")
    return parts[1] if len(parts) > 2 else "tests"


def seconds_by_folder(reports: Iterable[Any]) -> dict[str, float]:
    """Set-up, call and tear-down of all tests, added up over the processes, most first."""
    seconds: Counter[str] = Counter()
    for report in reports:
        seconds[folder_of(report.nodeid)] += report.duration
    return dict(seconds.most_common())


def reasons(skipped: Iterable[Any]) -> dict[str, int]:
    """Why tests were skipped, and how many for each reason, most first."""
    told = (report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr) for report in skipped)
    counted = Counter(reason.removeprefix("Skipped: ") for reason in told)
    return dict(sorted(counted.items(), key=lambda one: (-one[1], one[0])))


def last_line(why: Mapping[str, int]) -> str:
    """What was skipped, each reason with what to do about it; "" if nothing was."""
    if not why:
        return ""
    return f"{sum(why.values())} skipped: " + "; ".join(f"{number} × {reason}" for reason, number in why.items())
