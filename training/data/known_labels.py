"""When each label became known: `known_at`, of a column's label, of a report, or of time that passed without one."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from training.data import reports
from training.data.declaration import Declaration
from training.data.parser import NEVER, UNKNOWN
from training.data.reports import Feed
from training.data.split import DAY

LONG = 0.1  # of the span of the data


@dataclass(frozen=True)
class Delays:
    """How long labels take, in days: `column` those of a label column, `maturity` until no report means no fraud."""

    column: float
    maturity: float


@dataclass(frozen=True)
class LabelCounts:
    """What was learned of labels: transactions that reports name, reports that wait for theirs, labels that a later
    report corrected; and of the reported frauds' delay (`reported_at` − time) median and nine tenths, in days.
    """

    reported: int = 0
    waiting: int = 0
    labels_corrected: int = 0
    delay_median_days: float | None = None
    delay_p90_days: float | None = None

    def as_dict(self) -> dict[str, float | None]:
        """Plain values by name."""
        return asdict(self)


def timed(
    rows: pl.DataFrame, data: Declaration, delays: Delays, feed: Feed | None
) -> tuple[pl.DataFrame, LabelCounts, int]:
    """The rows with `label` and `known_at` (`NEVER` while it is not known), what was counted, and as of when.

    With a feed, a transaction of which neither a report nor a column says anything is good once it is `maturity` days
    old.
    """
    newest = int(rows["time"][-1]) if len(rows) else 0
    as_of = max(newest, feed.newest if feed else 0)
    said = pl.col("label") != UNKNOWN
    silent = pl.col("time") + round(delays.maturity * DAY)
    grown_up = pl.lit(feed is not None) & (silent // DAY <= as_of // DAY)  # a nightly load of that day knows it
    known_at = pl.when(said).then(pl.col("time") + round(delays.column * DAY)).when(grown_up).then(silent)
    rows = rows.with_columns(known_at=known_at.otherwise(NEVER).cast(pl.Int64))
    if feed is None:
        return rows, LabelCounts(), as_of
    good = (pl.col("label") == UNKNOWN) & (pl.col("known_at") != NEVER)
    standing = reports.matched(feed, rows, data)
    told, counts = _overruled(rows, standing)
    silent_good = pl.when(good).then(0).otherwise(pl.col("label")).cast(pl.Int8)
    return _written(rows.with_columns(label=silent_good), told), counts, as_of


def _overruled(rows: pl.DataFrame, standing: reports.StandingReports) -> tuple[pl.DataFrame, LabelCounts]:
    """What stands of each reported row, and the counts. A report that repeats the column's label changes no time."""
    there = rows[standing.rows["row"]].select("time", own="label", own_at="known_at")
    told = pl.concat([standing.rows, there], how="horizontal").with_columns(at=pl.max_horizontal("at", "time"))
    same = (pl.col("own") == pl.col("label")) & (pl.col("own") != UNKNOWN)
    turned = (pl.col("own") != pl.col("label")) & (pl.col("own") != UNKNOWN)
    told = told.with_columns(
        known_at=pl.when(same).then(pl.min_horizontal("at", "own_at")).otherwise(pl.col("at")),
        corrected=pl.col("changed") | turned,
    )
    days = told.filter(pl.col("label") == 1).select(days=(pl.col("at") - pl.col("time")) / DAY)["days"]
    median, p90 = (days.quantile(share, "nearest") for share in (0.5, 0.9))
    counts = LabelCounts(len(told), standing.waiting, int(told["corrected"].sum()), _rounded(median), _rounded(p90))
    return told, counts


def _written(rows: pl.DataFrame, told: pl.DataFrame) -> pl.DataFrame:
    label, known_at = rows["label"].to_numpy().copy(), rows["known_at"].to_numpy().copy()
    at = told["row"].to_numpy().astype(np.int64)
    label[at], known_at[at] = told["label"].to_numpy(), told["known_at"].to_numpy()
    return rows.with_columns(pl.Series("label", label), pl.Series("known_at", known_at))


def _rounded(days: float | None) -> float | None:
    return None if days is None else round(days, 3)


def delay_warnings(dataset: Mapping[str, Any]) -> list[str]:
    """What `dataset.json` shows of a label delay that is long for the data: labels would hardly teach anything."""
    span, settings, labels = (dataset["last"] - dataset["first"]) / DAY, dataset["config"], dataset["labels"]
    of_column = settings["label_delay_days"] if "label" in settings["data"] else 0
    told = []
    if of_column > span * LONG:
        told.append(f"label_delay_days is {of_column:g}: set it to what a label of the column takes in truth")
    if (labels["delay_p90_days"] or 0) > span * LONG:
        told.append(f"nine of ten frauds are reported within {labels['delay_p90_days']:.3g} days, half of them within ")
        told[-1] += f"{labels['delay_median_days']:.3g}: give reported_at, if these are the days on which files arrived"
    limit = f"more than a tenth of the {span:.3g} days that the data span, so histories and risks know few labels"
    return [f"{one} ({limit})" for one in told]
