"""Figures of two versions that were asked the same requests: `details.shadow`, without a verdict."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.data.declaration import Declaration
from training.data.profile import psi
from training.evaluation.row_slices import of_values
from training.serving.csv_codec import BadRequest, parse
from training.shadow.replay import Answers
from training.shadow.requests import ReplayRequest

QUANTILES = 10
MOST_SEGMENTS, MOST_CHANGES, MOST_REASONS = 40, 10, 3
PLACES = 6  # decimal places of a probability


def tried(version: str, answers: Answers | None, per_day: float | None = None, error: str = "") -> dict[str, Any]:
    """One version's own figures; `error` says why it does not load."""
    if answers is None:
        return {"version": version, "error": error, "answered": 0, "failed": 0, "reason": "", "alerts": 0}
    answered = answers.answered
    took = answers.seconds[answered] * 1e3
    share = float(answers.decision[answered].mean()) if answered.any() else 0.0
    return {
        "version": version,
        "error": error,
        "answered": int(answered.sum()),
        "failed": int((~answered).sum()),
        "reason": answers.reason[:300],
        "p50_ms": float(np.quantile(took, 0.5)) if len(took) else 0.0,
        "p99_ms": float(np.quantile(took, 0.99)) if len(took) else 0.0,
        "alerts": int(answers.decision[answered].sum()),
        "alerts_per_day": None if per_day is None else round(share * per_day, 1),
    }


def control(requests: Sequence[ReplayRequest], answers: Answers, tolerance: float) -> dict[str, Any]:
    """How many of its answers on record a version repeats within `tolerance`; a failed request repeats nothing."""
    expected = np.array([request.probability for request in requests])
    difference = np.abs(answers.probability - expected)
    known = difference[np.isfinite(difference)]
    return {
        "compared": len(requests),
        "reproduced": int((known <= tolerance).sum()),
        "max_difference": float(known.max()) if len(known) else 0.0,
    }


def beside(ours: Answers, theirs: Answers) -> dict[str, Any]:
    """The candidate's answers beside the champion's, on the requests that both answered."""
    both = ours.answered & theirs.answered
    return {
        "compared": int(both.sum()),
        "psi": score_psi(ours.probability[both], theirs.probability[both]) if both.any() else None,
        "disagreements": int((ours.decision[both] != theirs.decision[both]).sum()),
    }


def score_psi(scores: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """The PSI of `scores` against `reference`, over the reference's ten quantile bins."""
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, QUANTILES + 1)[1:-1]))
    counts = [np.bincount(np.searchsorted(edges, part), minlength=len(edges) + 1) for part in (scores, reference)]
    return psi(*(part.tolist() for part in counts))


def segments(
    requests: Sequence[ReplayRequest], ours: Answers, theirs: Answers, data: Declaration
) -> list[dict[str, Any]]:
    """Alerts and disagreements by kind of payment; empty if the lines are not of these columns. Worst come first."""
    try:
        table = parse([request.line for request in requests], datetime.now(UTC).date(), data)
        table = table.select(pl.all().name.prefix("clean_"))
    except BadRequest:
        return []
    both = ours.answered & theirs.answered
    found: list[dict[str, Any]] = [
        {
            "name": name[:100],
            "requests": int((inside & both).sum()),
            "disagreements": int((ours.decision != theirs.decision)[inside & both].sum()),
            "candidate_alerts": int(ours.decision[inside & both].sum()),
            "champion_alerts": int(theirs.decision[inside & both].sum()),
        }
        for name, inside in of_values(table, data)
        if (inside & both).any()
    ]
    return sorted(found, key=lambda one: (-one["disagreements"], -one["requests"], one["name"]))[:MOST_SEGMENTS]


def largest_changes(ours: Answers, theirs: Answers) -> list[int]:
    """The numbers of the requests whose probability changed most."""
    difference = np.nan_to_num(np.abs(ours.probability - theirs.probability))
    order = np.argsort(-difference, kind="stable")[:MOST_CHANGES]
    return [int(number) for number in order if difference[number] > 0]


def change(number: int, ours: Answers, theirs: Answers, reasons: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """One request whose score changed, by its number in the replay: no field of the payment; `reasons` by role."""
    return {
        "request": number,
        "candidate": round(float(ours.probability[number]), PLACES),
        "champion": round(float(theirs.probability[number]), PLACES),
        "decisions": [bool(ours.decision[number]), bool(theirs.decision[number])],
        "reasons": {role: list(words) for role, words in reasons.items()},
    }


def strongest(values: NDArray[np.float64], names: Sequence[str]) -> list[str]:
    """The features that moved a score most, with sign and size (log-odds)."""
    return [f"{names[index]} {values[index]:+.2f}" for index in _largest(values)]


def _largest(values: NDArray[np.float64]) -> Iterator[int]:
    yield from (int(index) for index in np.argsort(-np.abs(values), kind="stable")[:MOST_REASONS])
