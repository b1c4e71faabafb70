"""Metrics of parts of the test set: a good overall metric can hide a channel in which the model detects nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.data.declaration import Category, Declaration
from training.graph.graph import TEST, TRAIN, Graph
from training.model.metrics import Labels, Scores, ranking

AMOUNTS = {"refund": (-(10**9), 0), "under 10": (0, 10), "10 to 100": (10, 100), "100 and more": (100, 10**9)}
TOP = 10  # values of an open category that are looked at

Rows = NDArray[np.bool_]


def columns(data: Declaration) -> list[str]:
    """The clean columns that slices are made of."""
    return ["clean_cents", *(f"clean_{name}" for name in data.categories)]


def rows(dataset: Path, data: Declaration) -> pl.DataFrame:
    """Return the `columns` of a data set's test rows, in order; the others are not kept in memory."""
    table = pl.scan_parquet(dataset / "transactions.parquet").filter(pl.col("split") == TEST).select(columns(data))
    return table.collect(engine="streaming")


def masks(table: pl.DataFrame, graph: Graph, ids: NDArray[np.int64], data: Declaration) -> Iterator[tuple[str, Rows]]:
    """Yield each slice's name and its mask over the rows `ids` [N]; `table` holds the same rows' `columns`."""
    yield from of_values(table, data)
    train = (graph.split == TRAIN).numpy()
    for side, entity in graph.entities.items():
        codes = entity.numpy()
        yield f"unseen {side}", ~np.isin(codes[ids], np.unique(codes[train]))


def of_values(table: pl.DataFrame, data: Declaration) -> Iterator[tuple[str, Rows]]:
    """Yield the slices that a row's own values decide: its categories and its amount."""
    for name, category in data.categories.items():
        yield from _kinds(name, category, table[f"clean_{name}"])
    cents, unit = table["clean_cents"].to_numpy(), 10**data.amount.minor_units
    for name, (low, high) in AMOUNTS.items():
        yield f"amount={name}", (cents >= low * unit) & (cents < high * unit)


def _kinds(name: str, category: Category, values: pl.Series) -> Iterator[tuple[str, Rows]]:
    """A slice for each value of a closed list, each group of a whole number, each of the `TOP` values of any other."""
    if category.values:
        words = category.names or category.values
        yield from ((f"{name}={word}", (values == code).to_numpy()) for code, word in enumerate(words, 1))
    elif category.groups:
        for group, (low, high) in category.groups.items():
            yield f"{name}={group}", values.is_between(low, high).to_numpy()
    else:
        plain = values.cast(pl.String)
        often = plain.value_counts().sort(["count", plain.name], descending=[True, False]).head(TOP)
        yield from ((f"{name}={word or 'none'}", (plain == word).to_numpy()) for word in often[plain.name].to_list())


def metrics(name: str, inside: Rows, labels: Labels, scores: Scores) -> dict[str, Any]:
    """Return rows, frauds and ranking metrics of one slice; without both classes the ranking metrics are None."""
    part, frauds = labels[inside], int((labels[inside] == 1).sum())
    ranked = (
        ranking(part, scores[inside]) if 0 < frauds < len(part) else dict.fromkeys(("auc_roc", "average_precision"))
    )
    return {"name": name, "rows": len(part), "frauds": frauds, **ranked}
