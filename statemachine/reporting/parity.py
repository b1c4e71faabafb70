"""Parity: is a run of ours as good as the training job that it replaces? One-sided where better is better.

A baseline is a file with provenance. Runs on other data or with another seed are not compared at all: a number that
only looks comparable is worth less than none.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from statemachine.contracts.errors import Malformed, OperationRefused

FORMAT = 1
TOLERANCES = {"accuracy": 0.01, "f1": 0.02, "auc_roc": 0.01}
LONGER = 0.20  # of the baseline's training time


@dataclass(frozen=True)
class Measured:
    """What one training reached: `metrics` on the test rows, seconds, and on which data with which seed."""

    metrics: Mapping[str, float]
    training_seconds: float
    data_sha256: str
    seed: int


@dataclass(frozen=True)
class Baseline:
    """A measured training, where it ran, and where the numbers are from (`source`: kind, arn, who, when)."""

    measured: Measured
    source: Mapping[str, Any]
    instance_type: str = ""
    instance_count: int = 1
    billable_seconds: float = 0.0
    cost_dollars: float | None = None
    image: str = ""
    hyperparameters: Mapping[str, str] = field(default_factory=dict)

    def dumps(self) -> str:
        """The baseline file."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, sort_keys=True) + "\n"


def read_baseline(text: str) -> Baseline:
    """The baseline in a file. Raises `Malformed`."""
    try:
        record = json.loads(text)
        if record.pop("format", None) != FORMAT:
            raise Malformed(f"a baseline file has format {FORMAT}")
        measured = Measured(**record.pop("measured"))
        if not record["source"].get("arn"):
            raise Malformed("a baseline without the ARN of its training job has no provenance")
        return Baseline(measured, **record)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Malformed(f"the baseline file cannot be read: {type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class ParityRow:
    """One comparison: ours may not be beyond `limit`."""

    name: str
    baseline: float
    ours: float
    limit: float
    holds: bool


@dataclass(frozen=True)
class Parity:
    """The answer: go if every row holds."""

    rows: tuple[ParityRow, ...]

    @property
    def go(self) -> bool:
        """Nothing is worse than its tolerance allows."""
        return all(row.holds for row in self.rows)


def compare(baseline: Measured, ours: Measured) -> Parity:
    """Ours against the baseline's.

    Raises:
        OperationRefused: another data hash or seed, or a metric is missing: these cannot be compared.
    """
    if ours.data_sha256 != baseline.data_sha256:
        raise OperationRefused(
            f"other data: ours is {ours.data_sha256 or 'unknown'}, the baseline's {baseline.data_sha256}"
        )
    if ours.seed != baseline.seed:
        raise OperationRefused(
            f"another seed: ours is {ours.seed}, the baseline's {baseline.seed}; train with the same one"
        )
    for whose, metrics in (("ours", ours.metrics), ("the baseline", baseline.metrics)):
        if missing := sorted(set(TOLERANCES) - set(metrics)):
            raise OperationRefused(f"{whose} has no {', '.join(missing)}")
    rows = [_at_least(name, baseline.metrics[name], ours.metrics[name], by) for name, by in TOLERANCES.items()]
    most = baseline.training_seconds * (1 + LONGER)
    seconds = (baseline.training_seconds, ours.training_seconds)
    return Parity((*rows, ParityRow("training_seconds", *seconds, most, ours.training_seconds <= most)))


def _at_least(name: str, baseline: float, ours: float, tolerance: float) -> ParityRow:
    limit = baseline - tolerance
    return ParityRow(name, baseline, ours, limit, ours >= limit)


def markdown(parity: Parity, title: str) -> str:
    """The comparison as a page."""
    lines = [f"# {title}", "", f"**{'GO' if parity.go else 'NO GO'}**", ""]
    lines += ["| metric | baseline | ours | difference | limit | |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {row.name} | {row.baseline:.4f} | {row.ours:.4f} | {row.ours - row.baseline:+.4f} | "
        f"{'≤' if row.name == 'training_seconds' else '≥'} {row.limit:.4f} | {'holds' if row.holds else '**worse**'} |"
        for row in parity.rows
    ]
    return "\n".join(lines) + "\n"
