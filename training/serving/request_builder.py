"""Builds requests for transactions of a data set: for golden requests, tests and benchmarks."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor

from training.data.schema import FeatureSchema
from training.graph.graph import graph_of
from training.graph.history import Reader
from training.model.model import FraudModel
from training.serving.csv_codec import write
from training.serving.request import ScoringRequest


@dataclass(frozen=True)
class RequestBuilder:
    """A data set's rows, sorted by time, and the reader of their histories."""

    table: pl.DataFrame
    reader: Reader
    fitted: FeatureSchema

    @classmethod
    def of(cls, dataset: str | Path, model: FraudModel) -> "RequestBuilder":
        """Read a local data set folder with the schema of `model`."""
        table = pl.read_parquet(Path(dataset) / "transactions.parquet")
        reader = Reader(graph_of(table, model.row, model.sides), model.config.k, model.config.label_delay)
        return cls(table, reader, model.feature_schema)

    def request(self, ids: Tensor) -> ScoringRequest:
        """Return the request for transactions `ids` [B], each with the history and counters that training used."""
        block = self.reader.block(ids)
        graph, k = self.reader.graph, self.reader.k
        last = [line.previous(ids, k) for line in graph.timelines.values()]
        wanted = np.unique(torch.cat([ids, *(found[present] for found, present in last)]).numpy())
        lines = [line.encode() for line in write(self.table[wanted], self.reader.state[wanted].numpy(), self.fitted)]
        line_of = dict(zip(wanted.tolist(), lines, strict=True))
        texts = ([_joined(line_of, *row) for row in zip(*found, strict=True)] for found in last)
        counters = np.concatenate([block.volume.numpy(), block.risk.numpy()], axis=1).astype(np.float32)
        return ScoringRequest(
            [line_of[number] for number in ids.tolist()], dict(zip(graph.sides, texts, strict=True)), counters
        )


def _joined(line_of: dict[int, bytes], ids: Tensor, present: Tensor) -> bytes:
    """Return a history's lines, oldest first."""
    return b"\n".join(line_of[number] for number in reversed(ids[present].tolist()))
