"""Small graphs, made by hand or at random, and the plain reading of "strictly earlier" that the fast one must equal."""

from typing import Any

import numpy as np
import torch

from training.graph.block import DAY
from training.graph.graph import NEVER_DAY, Graph
from training.graph.velocity import SOURCES


def graph(
    time: list[int],
    card: list[int],
    merchant: list[int],
    label: list[int] | None = None,
    split: list[int] | None = None,
    delay: int = 30 * DAY,
) -> Graph:
    """A graph of transactions sorted by time, whose first row feature is their number; labels known after `delay`."""
    rows = torch.zeros(len(time), len(SOURCES))
    rows[:, 0] = torch.arange(len(time))
    return Graph(
        time=torch.tensor(time, dtype=torch.int64),
        entities={
            "card": torch.tensor(card, dtype=torch.int32),
            "merchant": torch.tensor(merchant, dtype=torch.int32),
        },
        label=torch.tensor(label or [0] * len(time), dtype=torch.int8),
        known_day=known_days(time, label or [0] * len(time), delay),
        split=torch.tensor(split or [0] * len(time), dtype=torch.int8),
        row=rows,
        features=SOURCES,
        cents=torch.arange(len(time), dtype=torch.int64) * 1001 % 700 - 50,
    )


def known_days(time: list[int], label: list[int], delay: int) -> torch.Tensor:
    """The days on which labels are known `delay` seconds after their transactions."""
    days = [NEVER_DAY if one < 0 else (at + delay) // DAY for at, one in zip(time, label, strict=True)]
    return torch.tensor(days, dtype=torch.int32)


def random_graph(rows: int, seed: int, delay: int = 30 * DAY) -> Graph:
    """Few cards and merchants, many ties, 400 days."""
    rng = np.random.default_rng(seed)
    time = np.sort(rng.integers(0, 400, rows)) * DAY // 2
    made = graph(
        time.tolist(),
        rng.integers(1, 6, rows).tolist(),
        rng.integers(1, 9, rows).tolist(),
        (rng.random(rows) < 0.3).astype(int).tolist(),
        np.minimum(np.arange(rows) * 4 // rows, 2).tolist(),
        delay,
    )
    made.row[:] = torch.from_numpy(rng.normal(size=(rows, len(SOURCES))).astype(np.float32))
    return made


def earlier(made: Graph, seed: int, side: str) -> list[int]:
    """All strictly earlier transactions of the seed's card or merchant, most recent first, by looking at each one."""
    entity = made.entities[side]
    found = [i for i in range(len(made)) if entity[i] == entity[seed] and made.time[i] < made.time[seed]]
    return found[::-1]


def counted(made: Graph, seed: int, side: str, days: int) -> dict[str, Any]:
    """Volume, amount, known labels and known frauds of one window of calendar days, by looking at each transaction."""
    today, past = int(made.time[seed]) // DAY, earlier(made, seed, side)
    window = [i for i in past if today - days + 1 <= int(made.time[i]) // DAY <= today]
    matured = [i for i in past if today - days <= int(made.known_day[i]) <= today - 1]
    return {
        "volume": len(window),
        "amount": sum(int(made.cents[i]) for i in window) / 100,
        "matured": len(matured),
        "frauds": int(sum(made.label[i] == 1 for i in matured)),
    }
