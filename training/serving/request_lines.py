"""The lines of a request, each different one once: transactions of a batch share much of their histories."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.serving.entries import Numbers

MANY = 256  # texts from which polars splits and compares faster


@dataclass(frozen=True)
class RequestLines:
    """What B transactions and T texts of history hold: `counts` [T] lines of each text, and `number` [B + sum(counts)]:
    which of the `different` lines each one is, the transactions first.
    """

    counts: NDArray[np.intp]
    different: list[bytes]
    number: Numbers

    @classmethod
    def of(cls, transactions: Sequence[bytes], texts: Sequence[bytes]) -> "RequestLines":
        """Of transactions, a line each, and texts, whose lines are split at newlines; "" holds none."""
        if len(texts) < MANY:
            return _one_by_one(transactions, texts)
        try:
            return _together(transactions, texts)
        except pl.exceptions.PolarsError:  # one of them is not UTF-8
            return _one_by_one(transactions, texts)


def _one_by_one(transactions: Sequence[bytes], texts: Sequence[bytes]) -> RequestLines:
    parts = [text.split(b"\n") if text else [] for text in texts]
    lines = [*transactions, *chain.from_iterable(parts)]
    numbers: defaultdict[bytes, int] = defaultdict()
    numbers.default_factory = numbers.__len__
    number = np.fromiter(map(numbers.__getitem__, lines), dtype=np.intp, count=len(lines))
    return RequestLines(np.array([len(part) for part in parts], dtype=np.intp), list(numbers), number)


def _together(transactions: Sequence[bytes], texts: Sequence[bytes]) -> RequestLines:
    parts = pl.Series(texts, dtype=pl.Binary).cast(pl.String).replace("", None).str.split("\n")
    split = parts.drop_nulls().explode().cast(pl.Binary)
    lines = pl.Series("line", transactions, dtype=pl.Binary).append(split).rechunk()
    first = lines.to_frame().with_row_index().select(pl.first("index").over("line")).to_series().to_numpy()
    new = first == np.arange(len(first))
    number = (np.cumsum(new) - 1)[first]
    counts = parts.list.len().fill_null(0).to_numpy().astype(np.intp)
    return RequestLines(counts, lines.filter(pl.Series(new)).to_list(), number)
