"""The score log added up by day, version and score: what drift and reports need of it, in one pass over its files."""

from collections.abc import Iterable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.scorelog.files import DAY, ScoreFiles, day_of
from training.scorelog.read import frames

BINS = 240  # of the score's log odds, from −12 to 12
COLUMNS = ("at", "probability", "decision", "version", "degraded")
KEYS = ("day", "version", "bin")
COUNTS = ("rows", "alerts", "degraded")


def by_day(files: ScoreFiles, since: float = 0.0) -> pl.DataFrame:
    """Rows, alerts and degraded answers by `day` (days since 1970, UTC), `version` and `bin` of the score.

    `first` is the earliest answer's time. Answers before `since` are left out.
    """
    parts = [_added(frame.filter(pl.col("at") >= since)) for frame in frames(files, since, columns=COLUMNS)]
    return _sum(parts) if parts else _added(pl.DataFrame(schema=dict.fromkeys(COLUMNS, pl.Null)))


def _added(frame: pl.DataFrame) -> pl.DataFrame:
    odds = (pl.col("probability").cast(pl.Float64) / (1 - pl.col("probability").cast(pl.Float64))).log()
    return (
        frame.with_columns(
            day=(pl.col("at").cast(pl.Float64) / DAY).floor().cast(pl.Int32),
            version=pl.col("version").cast(pl.String),
            bin=(odds.clip(-12, 11.999) * 10 + BINS // 2).floor().cast(pl.Int16),
        )
        .group_by(KEYS)
        .agg(
            rows=pl.len().cast(pl.Int64),
            alerts=pl.col("decision").cast(pl.Boolean).sum().cast(pl.Int64),
            degraded=(pl.col("degraded").cast(pl.String) != "").sum().cast(pl.Int64),
            first=pl.col("at").cast(pl.Float64).min(),
        )
    )


def _sum(parts: Iterable[pl.DataFrame]) -> pl.DataFrame:
    counts = [pl.col(name).sum() for name in COUNTS]
    return pl.concat(parts).group_by(KEYS).agg(*counts, pl.col("first").min()).sort(KEYS)


def totals(table: pl.DataFrame) -> dict[str, int]:
    """Rows, alerts and degraded answers of some rows of `by_day`."""
    return {name: int(table[name].sum()) for name in COUNTS}


def histogram(table: pl.DataFrame) -> NDArray[np.int64]:
    """Answers in each bin [BINS] of some rows of `by_day`; not the degraded ones, which have a check of their own."""
    made = np.zeros(BINS, np.int64)
    np.add.at(made, table["bin"].to_numpy(), (table["rows"] - table["degraded"]).to_numpy())
    return made


def series(table: pl.DataFrame) -> list[dict[str, object]]:
    """One record a day and version, oldest first, for plots and people."""
    days = table.group_by("day", "version").agg(pl.col(name).sum() for name in COUNTS).sort("day", "version")
    return [{**row, "day": day_of(row["day"] * DAY)} for row in days.iter_rows(named=True)]
