"""The data profile of a run, and its drift: the population stability index (PSI) of each column against the champion's.

Columns are profiled before anything fitted is applied to them, so that two runs' profiles speak of the same thing.
PSI = Σ (p − q) · ln(p / q) over bins; the field reads < 0.1 as stable and > 0.25 as shifted.
"""

import math
from collections.abc import Mapping
from typing import Any

import polars as pl

FORMAT = 1
NUMERIC = {
    "amount": pl.col("cents") / 100,
    "hour": pl.col("minute") / 60,
    "zip": pl.when(pl.col("zip") > 0).then(pl.col("zip")),
}
CATEGORICAL = {
    "channel": pl.col("channel"),
    "mcc": pl.col("mcc"),
    "state": pl.col("state"),
    "errors": pl.col("errors"),
    "label": pl.when(pl.col("label") >= 0).then(pl.col("label")),
}
DECILES = tuple(number / 10 for number in range(1, 10))
TOP = 20  # categories with a bin of their own; all others share one, or PSI would measure the noise of rare ones
Column = Mapping[str, Any]


def profile(rows: pl.LazyFrame) -> dict[str, Column]:
    """Per column its bins and how many rows fall into each: deciles for numbers, the `TOP` values for categories."""
    return {name: _numeric(rows, value) for name, value in NUMERIC.items()} | {
        name: _categorical(rows, value) for name, value in CATEGORICAL.items()
    }


def drift(rows: pl.LazyFrame, reference: Mapping[str, Column]) -> dict[str, float]:
    """PSI of each column of `rows` against an earlier profile, whose bins are used."""
    found = {}
    for name, column in reference.items():
        value = (NUMERIC | CATEGORICAL).get(name)
        if value is not None:
            found[name] = psi(_counted(rows, value, column), column["counts"])
    return found


def psi(counts: list[int], reference: list[int]) -> float:
    """PSI of two histograms over the same bins; half a row is added to each bin against zeros."""
    p, q = _shares(counts), _shares(reference)
    return sum((a - b) * math.log(a / b) for a, b in zip(p, q, strict=True))


def _shares(counts: list[int]) -> list[float]:
    total = sum(counts) + 0.5 * len(counts)
    return [(count + 0.5) / total for count in counts]


def _numeric(rows: pl.LazyFrame, value: pl.Expr) -> Column:
    told = rows.select(
        *[value.quantile(decile).alias(str(decile)) for decile in DECILES],
        mean=value.mean(),
        low=value.min(),
        high=value.max(),
    ).collect()
    summary = told.row(0, named=True)
    edges = sorted({summary[str(decile)] for decile in DECILES} - {None})
    column = {"edges": edges, "mean": summary["mean"], "min": summary["low"], "max": summary["high"]}
    return column | {"counts": _counted(rows, value, column)}


def _categorical(rows: pl.LazyFrame, value: pl.Expr) -> Column:
    counted = rows.select(value=value).filter(pl.col("value").is_not_null()).group_by("value").len().collect()
    table = counted.with_columns(_plain(counted["value"])).sort(["len", "value"], descending=[True, False]).head(TOP)
    column = {"values": table["value"].to_list()}
    return column | {"counts": _counted(rows, value, column)}


def _counted(rows: pl.LazyFrame, value: pl.Expr, column: Column) -> list[int]:
    """Rows in each bin; the last bin holds empty fields (numbers) or all other values (categories)."""
    bins = len(column["edges"]) + 2 if "edges" in column else len(column["values"]) + 1
    counted = rows.select(bin=_bin(value, column)).group_by("bin").len().collect()
    found = dict(counted.rows())
    return [found.get(number, 0) for number in range(bins)]


def _bin(value: pl.Expr, column: Column) -> pl.Expr:
    if "edges" in column:
        above = sum(((value > edge).cast(pl.Int32) for edge in column["edges"]), start=pl.lit(0, dtype=pl.Int32))
        return above.fill_null(len(column["edges"]) + 1)
    number = list(range(len(column["values"])))
    return value.replace_strict(column["values"], number, default=len(number), return_dtype=pl.Int32)


def _plain(values: pl.Series) -> pl.Series:
    return values.cast(pl.String) if values.dtype == pl.Categorical else values
