"""Small graphs, made by hand or at random, and the plain reading of "strictly earlier" that the fast one must equal."""

from typing import Any

import numpy as np
import torch

from training.graph.block import DAY
from training.graph.graph import Graph
from training.graph.velocity import SOURCES


def graph(
    time: list[int],
    card: list[int],
    merchant: list[int],
    label: list[int] | None = None,
    split: list[int] | None = None,
) -> Graph:
    """A graph of transactions sorted by time, whose first row feature is their number."""
    rows = torch.zeros(len(time), len(SOURCES))
    rows[:, 0] = torch.arange(len(time))
    return Graph(
        time=torch.tensor(time, dtype=torch.int64),
        entities={
            "card": torch.tensor(card, dtype=torch.int32),
            "merchant": torch.tensor(merchant, dtype=torch.int32),
        },
        label=torch.tensor(label or [0] * len(time), dtype=torch.int8),
        split=torch.tensor(split or [0] * len(time), dtype=torch.int8),
        row=rows,
        features=SOURCES,
    )


def random_graph(rows: int, seed: int) -> Graph:
    """Few cards and merchants, many ties, 400 days."""
    rng = np.random.default_rng(seed)
    time = np.sort(rng.integers(0, 400, rows)) * DAY // 2
    made = graph(
        time.tolist(),
        rng.integers(1, 6, rows).tolist(),
        rng.integers(1, 9, rows).tolist(),
        (rng.random(rows) < 0.3).astype(int).tolist(),
        np.minimum(np.arange(rows) * 4 // rows, 2).tolist(),
    )
    made.row[:] = torch.from_numpy(rng.normal(size=(rows, len(SOURCES))).astype(np.float32))
    return made


def earlier(made: Graph, seed: int, side: str) -> list[int]:
    """All strictly earlier transactions of the seed's card or merchant, most recent first, by looking at each one."""
    entity = made.entities[side]
    found = [i for i in range(len(made)) if entity[i] == entity[seed] and made.time[i] < made.time[seed]]
    return found[::-1]


def counted(made: Graph, seed: int, side: str, delay: int, days: int) -> dict[str, Any]:
    """Volume, matured transactions and matured frauds of one window, by looking at each transaction."""
    age = {i: int(made.time[seed] - made.time[i]) for i in earlier(made, seed, side)}
    matured = [i for i, gap in age.items() if delay <= gap <= delay + days * DAY]
    return {
        "volume": sum(gap <= days * DAY for gap in age.values()),
        "matured": len(matured),
        "frauds": int(sum(made.label[i] == 1 for i in matured)),
    }
