"""Metrics of parts of the test set: a good overall metric can hide a channel in which the model detects nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.data.declaration import Declaration
from training.evaluation.row_slices import Rows, of_values
from training.graph.graph import TEST, TRAIN, Graph
from training.model.metrics import Labels, Scores, ranking


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


def metrics(name: str, inside: Rows, labels: Labels, scores: Scores) -> dict[str, Any]:
    """Return rows, frauds and ranking metrics of one slice; without both classes the ranking metrics are None."""
    part, frauds = labels[inside], int((labels[inside] == 1).sum())
    ranked = (
        ranking(part, scores[inside]) if 0 < frauds < len(part) else dict.fromkeys(("auc_roc", "average_precision"))
    )
    return {"name": name, "rows": len(part), "frauds": frauds, **ranked}
