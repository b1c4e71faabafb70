"""Metrics of parts of the test set: a good overall metric can hide a channel in which the model detects nothing."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.graph.graph import TRAIN, Graph
from training.model.metrics import Labels, Scores, ranking

CHANNELS = {1: "swipe", 2: "chip", 3: "online"}
# Merchant category codes by hundreds, as the card networks group them.
MCC_GROUPS = {
    "services": (0, 2999),
    "travel": (3000, 3999),
    "transport": (4000, 4799),
    "utilities": (4800, 4999),
    "retail": (5000, 5599),
    "vehicles": (5600, 5699),
    "shops": (5700, 7299),
    "business": (7300, 7999),
    "professional": (8000, 8999),
    "government": (9000, 9999),
}
AMOUNTS = {"refund": (-(10**9), 0), "under 10": (0, 10), "10 to 100": (10, 100), "100 and more": (100, 10**9)}
COLUMNS = ("clean_channel", "clean_mcc", "clean_cents")

Rows = NDArray[np.bool_]


def masks(table: pl.DataFrame, graph: Graph, ids: NDArray[np.int64]) -> Iterator[tuple[str, Rows]]:
    """Yield each slice's name and its mask over the rows `ids` [N]; `table` holds the `COLUMNS` of the same rows."""
    channel, mcc, cents = (table[name].to_numpy() for name in COLUMNS)
    for code, name in CHANNELS.items():
        yield f"channel={name}", channel == code
    for name, (low, high) in MCC_GROUPS.items():
        yield f"mcc={name}", (mcc >= low) & (mcc <= high)
    for name, (low, high) in AMOUNTS.items():
        yield f"amount={name}", (cents >= low * 100) & (cents < high * 100)
    train = (graph.split == TRAIN).numpy()
    for side in ("card", "merchant"):
        codes = getattr(graph, side).numpy()
        yield f"unseen {side}", ~np.isin(codes[ids], np.unique(codes[train]))


def metrics(name: str, inside: Rows, labels: Labels, scores: Scores) -> dict[str, Any]:
    """Return rows, frauds and ranking metrics of one slice; without both classes the ranking metrics are None."""
    part, frauds = labels[inside], int((labels[inside] == 1).sum())
    ranked = (
        ranking(part, scores[inside]) if 0 < frauds < len(part) else dict.fromkeys(("auc_roc", "average_precision"))
    )
    return {"name": name, "rows": len(part), "frauds": frauds, **ranked}
