"""Whether a version scores today's payments as it scored those of its first days: score, alert rate, degraded share.

It compares the version with itself, so neither another threshold nor another model looks like a change of the payments.
PSI reads as in `training.data.profile`: < 0.1 stable, > 0.25 shifted.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.data.profile import psi
from training.scorelog.daily import histogram, totals
from training.scorelog.files import DAY, day_of

GROUPS = 10
SIGNIFICANT = 3.0  # standard errors: a few alerts more or less are no change of their rate


@dataclass(frozen=True)
class DriftLimits:
    """What is compared, and from which figure on a version has drifted."""

    first_days: int = 7
    recent_days: int = 1
    min_rows: int = 1000
    psi: float = 0.25
    alert_change: float = 0.5
    degraded: float = 0.05


LIMITS = DriftLimits()


@dataclass(frozen=True)
class DriftCheck:
    """One figure beside its limit; `passed` is None where nothing can be said yet, and `note` says why."""

    name: str
    value: float | None
    limit: float
    passed: bool | None
    note: str


@dataclass(frozen=True)
class ScoreDrift:
    """What `drift` found. `first` and `recent` are the two spans with their counts."""

    version: str
    first: Mapping[str, Any]
    recent: Mapping[str, Any]
    checks: tuple[DriftCheck, ...]

    @property
    def drifted(self) -> tuple[DriftCheck, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.passed is False)

    @property
    def verdict(self) -> str:
        """`drifted`, `steady`, or `unknown` as long as a figure is missing."""
        if self.drifted:
            return "drifted"
        return "unknown" if any(check.passed is None for check in self.checks) else "steady"


def serving(table: pl.DataFrame) -> str:
    """The version that answered last, by the first answers of each; "" if the log is empty."""
    begun = table.group_by("version").agg(pl.col("day").max(), pl.col("first").min()).sort("day", "first")
    return str(begun["version"][-1]) if len(begun) else ""


def drift(table: pl.DataFrame, version: str, now: float, limits: DriftLimits = LIMITS) -> ScoreDrift:
    """Compares the version's first days with its most recent ones; `table` is that of `daily.by_day`.

    The first days begin with its first answer. The recent ones end with the day of `now`, and share no day with them.
    """
    own = table.filter(pl.col("version") == version)
    begin = int(own["day"].min()) if len(own) else int(now // DAY)  # type: ignore[arg-type]
    end = int(now // DAY) + 1
    first = own.filter(pl.col("day") < begin + limits.first_days)
    recent = own.filter((pl.col("day") >= end - limits.recent_days) & (pl.col("day") >= begin + limits.first_days))
    spans = {
        "first": _span(first, begin, begin + limits.first_days),
        "recent": _span(recent, end - limits.recent_days, end),
    }
    missing = _missing(spans, limits)
    checks = (
        _scores(first, recent, limits, missing),
        _alerts(spans["first"], spans["recent"], limits, missing),
        _degraded(spans["recent"], limits),
    )
    return ScoreDrift(version, spans["first"], spans["recent"], checks)


def _span(rows: pl.DataFrame, begin: int, end: int) -> dict[str, Any]:
    return {"from": day_of(begin * DAY), "until": day_of(end * DAY), **totals(rows)}


def _missing(spans: Mapping[str, Mapping[str, Any]], limits: DriftLimits) -> str:
    """Why nothing can be said yet; "" if there is enough."""
    if spans["recent"]["from"] < spans["first"]["until"]:
        return f"its first {limits.first_days} days end on {spans['first']['until']}"
    few = [f"{name}: {span['rows']} answers" for name, span in spans.items() if span["rows"] < limits.min_rows]
    return f"{', '.join(few)}; min_rows is {limits.min_rows}" if few else ""


def _scores(first: pl.DataFrame, recent: pl.DataFrame, limits: DriftLimits, missing: str) -> DriftCheck:
    if missing:
        return DriftCheck("score_psi", None, limits.psi, None, missing)
    reference, found = histogram(first), histogram(recent)
    edges = deciles(reference)
    value = psi(_grouped(found, edges), _grouped(reference, edges))
    return DriftCheck(
        "score_psi", value, limits.psi, value <= limits.psi, "of the scores, over tenths of the first days"
    )


def deciles(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first bins of at most `GROUPS` groups that hold about equally many of `counts` [BINS]."""
    total = np.cumsum(counts)
    wanted = total[-1] * np.arange(1, GROUPS) / GROUPS
    edges: NDArray[np.int64] = np.unique(np.concatenate([[0], np.searchsorted(total, wanted, side="right") + 1]))
    return edges


def _grouped(counts: NDArray[np.int64], edges: NDArray[np.int64]) -> list[int]:
    return [int(part.sum()) for part in np.split(counts, edges[1:])]


def _alerts(first: Mapping[str, Any], recent: Mapping[str, Any], limits: DriftLimits, missing: str) -> DriftCheck:
    name = "alert_rate_change"
    if missing:
        return DriftCheck(name, None, limits.alert_change, None, missing)
    before, now = (span["alerts"] / span["rows"] for span in (first, recent))
    told = f"{before:.3%} of the payments in the first days, {now:.3%} now"
    if not before:
        return DriftCheck(name, None, limits.alert_change, None, "no alerts in the first days")
    pooled = (first["alerts"] + recent["alerts"]) / (first["rows"] + recent["rows"])
    error = math.sqrt(pooled * (1 - pooled) * (1 / first["rows"] + 1 / recent["rows"]))
    change = now / before - 1
    by_chance = error == 0 or abs(now - before) < SIGNIFICANT * error
    passed = by_chance or abs(change) <= limits.alert_change
    return DriftCheck(name, change, limits.alert_change, passed, f"{told}{'; within chance' if by_chance else ''}")


def _degraded(recent: Mapping[str, Any], limits: DriftLimits) -> DriftCheck:
    if not recent["rows"]:
        return DriftCheck("degraded_share", None, limits.degraded, None, "no answers")
    share = recent["degraded"] / recent["rows"]
    return DriftCheck("degraded_share", share, limits.degraded, share <= limits.degraded, "answered without history")
