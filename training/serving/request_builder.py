"""Builds requests for transactions of a data set: for golden requests, tests and benchmarks."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.parser import UNKNOWN
from training.data.schema import FeatureSchema
from training.graph.graph import load_graph, taken
from training.graph.history import Reader
from training.model.model import FraudModel
from training.serving.csv_codec import write
from training.serving.request import ScoringRequest

NUMBER = "row number"
AT_ONCE = 1024  # states


@dataclass(frozen=True)
class RequestBuilder:
    """A data set's rows, sorted by time, and the reader of their histories; of its table only what is asked for."""

    rows: pl.LazyFrame
    reader: Reader
    fitted: FeatureSchema

    @classmethod
    def of(cls, dataset: str | Path, model: FraudModel) -> "RequestBuilder":
        """Read a local data set folder with the schema of `model`."""
        table = pl.scan_parquet(Path(dataset) / "transactions.parquet", row_index_name=NUMBER)
        reader = Reader(load_graph(dataset, model.row), model.config.k)
        return cls(table, reader, model.feature_schema)

    @cached_property
    def table(self) -> pl.DataFrame:
        """All rows, in memory, for who looks at more than a few."""
        return self.rows.drop(NUMBER).collect()

    def request(self, ids: Tensor) -> ScoringRequest:
        """Return the request for transactions `ids` [B], each with the history and counters that training used."""
        block = self.reader.block_in_parts(ids)
        graph, k = self.reader.graph, self.reader.k
        last = [line.previous(ids, k) for line in graph.timelines.values()]
        wanted = np.unique(torch.cat([ids, *(found[present] for found, present in last)]).numpy())
        wide = self.rows.select(pl.exclude(self.fitted.features))
        table = wide.filter(pl.col(NUMBER).is_in(wanted)).collect(engine="streaming").sort(NUMBER)
        states = self._states(torch.from_numpy(wanted))
        graph.release()
        known, unknown = (self._lines(table, states, told) for told in (True, False))
        texts = {}
        for (side, history), (found, _) in zip(block.histories.items(), last, strict=True):
            columns = (found.tolist(), history.present.tolist(), history.matured.tolist())
            texts[side] = [_joined(known, unknown, *row) for row in zip(*columns, strict=True)]
        counters = np.concatenate([block.volume.numpy(), block.risk.numpy()], axis=1).astype(np.float32)
        return ScoringRequest([unknown[number] for number in ids.tolist()], texts, counters)

    def _states(self, wanted: Tensor) -> NDArray[np.float32]:
        """Return the states of transactions; of a mapped graph little is held at once."""
        parts = []
        for some in torch.split(wanted, AT_ONCE):
            parts.append(taken(self.reader.state, some).numpy())
            self.reader.graph.release()
        return np.concatenate(parts)

    def _lines(self, table: pl.DataFrame, states: NDArray[np.float32], told: bool) -> dict[int, bytes]:
        """Return the lines of transactions by number, with their labels or without."""
        wanted = table[NUMBER].to_numpy().astype(np.int64)
        table = table if told else table.with_columns(label=pl.lit(UNKNOWN, dtype=pl.Int8))
        lines = write(table, states, self.fitted)
        return {number: line.encode() for number, line in zip(wanted.tolist(), lines, strict=True)}


Lines = Mapping[int, bytes]


def _joined(known: Lines, unknown: Lines, ids: list[int], present: list[bool], matured: list[bool]) -> bytes:
    """Return a history's lines, oldest first, each with its label if that was known by then."""
    entries = [(number, told) for number, there, told in zip(ids, present, matured, strict=True) if there]
    return b"\n".join((known if told else unknown)[number] for number, told in reversed(entries))
