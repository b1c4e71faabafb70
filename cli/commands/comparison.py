"""What two evaluations say beside each other, and whether they may be held against each other at all."""

from collections.abc import Iterator
from typing import Any

from cli.commands.evidence import Evidence
from statemachine.contracts.errors import OperationRefused

METRICS = ("average_precision", "auc_roc", "precision", "recall", "f1", "recall_at_fpr_0.001", "brier")
RANKED = ("auc_roc", "average_precision")


def compared(one: Evidence, other: Evidence) -> dict[str, Any]:
    """What the two evaluations say, and whether they may be held against each other. Raises `OperationRefused`."""
    for each in (one, other):
        if not each.evaluation:
            raise OperationRefused(f"{each.name} has no evaluation on record; `fraudloop why {each.run.id}` says why")
    rival = other.evaluation.get("champion") or {}
    paired = bool(one.version) and rival.get("version") == one.version and "difference" in rival
    same = _hash(one) is not None and _hash(one) == _hash(other)
    measured = rival["metrics"] if paired and not same else one.evaluation["metrics"]
    return {
        "same_rows": same or paired,
        "rows": _rows(one, other, same, paired),
        "thresholds": [None if paired and not same else one.evaluation["threshold"], other.evaluation["threshold"]],
        "metrics": {name: [measured.get(name), other.evaluation["metrics"].get(name)] for name in METRICS},
        "difference": dict(rival["difference"]) if paired else {},
        "segments": list(_segments(one, other, same)),
    }


def _hash(measured: Evidence) -> Any:
    """Which data, parted how: equal data with another split have other test rows."""
    known = measured.dataset.get("data_sha256"), str(measured.dataset.get("boundaries")), measured.evaluation["rows"]
    return known if known[0] else None


def _rows(one: Evidence, other: Evidence, same: bool, paired: bool) -> str:
    if same or paired:
        lacks = "" if same else f" Of {one.name} only the ranking is on record there; `--rescore` adds the rest."
        return f"Both were measured on the same rows: {other.rows}.{lacks}"
    return (
        f"Measured on DIFFERENT rows, so these figures do not say which is better: {one.name} on {one.rows}, "
        f"{other.name} on {other.rows}. `--rescore` scores both on the rows of {other.name}."
    )


def _segments(one: Evidence, other: Evidence, same: bool) -> Iterator[dict[str, Any]]:
    """Each slice of B; beside A's, whose rows may be others (`rows` and `frauds` are of each)."""
    before = {piece["name"]: piece for piece in one.evaluation.get("slices", ())}
    for piece in other.evaluation.get("slices", ()):
        if piece["rows"]:
            both = (before.get(piece["name"], {}), piece)
            pair = {name: [each.get(name) for each in both] for name in ("rows", "frauds", *RANKED)}
            yield {"name": piece["name"], **pair, "same_rows": same}
