"""The data profile of a run, and its drift: the population stability index (PSI) of each column against the champion's.

Columns are profiled before anything fitted is applied to them, so that two runs' profiles speak of the same thing.
PSI = Σ (p − q) · ln(p / q) over bins; the field reads < 0.1 as stable and > 0.25 as shifted.
"""

import math
from collections.abc import Mapping
from typing import Any

import polars as pl

from training.data import parser
from training.data.declaration import Declaration
from training.data.presets import preset

FORMAT = 1
LABEL = "label"
DECILES = tuple(number / 10 for number in range(1, 10))
TOP = 20  # categories with a bin of their own; all others share one, or PSI would measure the noise of rare ones
Column = Mapping[str, Any]


def numeric(data: Declaration) -> dict[str, pl.Expr]:
    """The columns that have deciles, by name."""
    made = {"amount": pl.col("cents") / 10**data.amount.minor_units, "hour": parser.minute(data) / 60}
    return made | {name: pl.col(name).cast(pl.Float64).fill_nan(None) for name in data.numbers}


def categorical(data: Declaration) -> dict[str, pl.Expr]:
    """The columns that have values, by name."""
    named = {name: pl.col(name) for name in (*data.categories, *data.flags)}
    return named | {LABEL: pl.when(pl.col("label") >= 0).then(pl.col("label"))}


def profile(rows: pl.LazyFrame, data: Declaration | None = None) -> dict[str, Column]:
    """Per column its bins and how many rows fall into each: deciles for numbers, the `TOP` values for categories."""
    data = data or preset()
    tables = _tables(rows, data)
    return {name: _numeric(tables[name]) for name in numeric(data)} | {
        name: _categorical(tables[name]) for name in categorical(data)
    }


def drift(rows: pl.LazyFrame, reference: Mapping[str, Column], data: Declaration | None = None) -> dict[str, float]:
    """PSI of each column of `rows` against an earlier profile, whose bins are used.

    Not of the label: those of new rows are not known yet, and a file that says "No" for now would look like a change.
    Not of a column that the earlier profile lacks, or has as another kind.
    """
    data = data or preset()
    tables = _tables(rows, data)
    kinds = dict.fromkeys(numeric(data), "edges") | dict.fromkeys(categorical(data), "values")
    known = {
        name: column for name, column in reference.items() if name != LABEL and name in kinds and kinds[name] in column
    }
    return {name: psi(_counted(tables[name], column), column["counts"]) for name, column in known.items()}


def psi(counts: list[int], reference: list[int]) -> float:
    """PSI of two histograms over the same bins; half a row is added to each bin against zeros."""
    p, q = _shares(counts), _shares(reference)
    return sum((a - b) * math.log(a / b) for a, b in zip(p, q, strict=True))


def _shares(counts: list[int]) -> list[float]:
    total = sum(counts) + 0.5 * len(counts)
    return [(count + 0.5) / total for count in counts]


def _tables(rows: pl.LazyFrame, data: Declaration) -> dict[str, pl.DataFrame]:
    """Each column's different values, sorted, and how often each occurs (`n`): few, where rows may be millions."""
    made = {
        name: rows.group_by(value=value).agg(n=pl.len().cast(pl.Int64))
        for name, value in (numeric(data) | categorical(data)).items()
    }
    tables = pl.collect_all(list(made.values()), engine="streaming")
    return {name: _plain(table).sort("value") for name, table in zip(made, tables, strict=True)}


def _plain(table: pl.DataFrame) -> pl.DataFrame:
    return table.with_columns(pl.col("value").cast(pl.String)) if table["value"].dtype == pl.Categorical else table


def _numeric(table: pl.DataFrame) -> Column:
    there = table.drop_nulls("value")
    total, weighed = (int(there["n"].sum()), float((there["value"] * there["n"]).sum()))
    at = [int(there["n"].cum_sum().search_sorted(decile * total)) for decile in DECILES] if total else []
    edges = sorted({there["value"][position] for position in at})
    mean = weighed / total if total else None
    column = {"edges": edges, "mean": mean, "min": there["value"].min(), "max": there["value"].max()}
    return column | {"counts": _counted(table, column)}


def _categorical(table: pl.DataFrame) -> Column:
    often = table.drop_nulls("value").sort(["n", "value"], descending=[True, False]).head(TOP)
    column = {"values": often["value"].to_list()}
    return column | {"counts": _counted(table, column)}


def _counted(table: pl.DataFrame, column: Column) -> list[int]:
    """Rows in each bin; the last bin holds empty fields (numbers) or all other values (categories)."""
    bins = len(column["edges"]) + 2 if "edges" in column else len(column["values"]) + 1
    found = dict(table.group_by(bin=_bin(column)).agg(pl.col("n").sum()).rows())
    return [found.get(number, 0) for number in range(bins)]


def _bin(column: Column) -> pl.Expr:
    value = pl.col("value")
    if "edges" in column:
        above = sum(((value > edge).cast(pl.Int32) for edge in column["edges"]), start=pl.lit(0, dtype=pl.Int32))
        return pl.when(value.is_null()).then(len(column["edges"]) + 1).otherwise(above)
    number = list(range(len(column["values"])))
    return value.replace_strict(column["values"], number, default=len(number), return_dtype=pl.Int32)
