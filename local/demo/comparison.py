"""What training's code says of the payments that were scored live.

The answer to a payment depends on the state that the online store had then: the data set that a run had brought in, up
to its `until`, and the payments before. The offline side computes the features of exactly these rows from the data set.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from local.demo.driver import MODEL, Driver
from local.demo.payments import PaymentAnswer, PaymentStream
from statemachine.contracts import paths
from statemachine.contracts.stage import Stage
from statemachine.core.states import State
from training import storage
from training.data import parser, schema
from training.graph.graph import CENTS, KNOWN_AT, graph_of, unit_of
from training.graph.history import Reader
from training.model.model import FraudModel, load
from training.serving.line_reader import LineReader

MARGIN = 1.0  # seconds around a stage in which the store may have been in between


@dataclass(frozen=True)
class BroughtIn:
    """When a run's data set was brought into the online store (seconds since the epoch), its URI, and its `until`."""

    began: float
    ended: float
    dataset: str
    until: int


@dataclass(frozen=True)
class Compared:
    """How many answers were compared with offline scores, on how many data sets, and the largest difference.

    `between` depend on the state at a moment in which a data set was being brought in.
    """

    payments: int
    datasets: int
    largest: float
    between: int


@dataclass
class OfflineScores:
    """Scores payments as training does, one data set after the other, in the order in which they were brought in.

    A payment's state is that of its own time: later data sets may hold transactions before it that nobody scored live.
    `unsure` are the numbers of payments that were answered while the store's state was changing.
    """

    lines: Sequence[str]
    models: Mapping[str, FraudModel]
    unsure: frozenset[int]
    states: dict[int, Tensor] = field(default_factory=dict)

    def of(self, dataset: Path, until: int, answers: Sequence[PaymentAnswer]) -> NDArray[np.float64]:
        """The scores [N] of these answers' payments; NaN for one whose history holds one of `unsure`."""
        rows = _rows(dataset, self.lines[: answers[-1].number + 1], next(iter(self.models.values())), until)
        numbers = rows["payment"].to_numpy()
        place = {int(number): at for at, number in enumerate(numbers) if number >= 0}
        unsure = torch.from_numpy(np.isin(numbers, list(self.unsure)))
        scores = np.zeros(len(answers))
        for version in {answer.score.version for answer in answers}:
            chosen = [at for at, answer in enumerate(answers) if answer.score.version == version]
            ids = torch.tensor([place[answers[at].number] for at in chosen])
            reader = self._reader(rows, place, self.models[version])
            self.states |= {answers[at].number: reader.state[at_row] for at, at_row in zip(chosen, ids, strict=True)}
            scores[chosen] = np.concatenate([self.models[version].score(block) for block in reader.blocks(ids)])
            for line in reader.graph.timelines.values():
                earlier, present = line.previous(ids, reader.k)
                scores[np.array(chosen)[(unsure[earlier] & present).any(1).numpy()]] = np.nan
        return scores

    def _reader(self, rows: pl.DataFrame, place: Mapping[int, int], model: FraudModel) -> Reader:
        table = schema.row_features(rows, model.feature_schema)
        reader = Reader(graph_of(table, model.row, model.sides, unit_of(model.schema)), model.config.k)
        for number, state in self.states.items():
            if number in place:
                reader.state[place[number]] = state
        return reader


def compared(driver: Driver, stream: PaymentStream) -> Compared:
    """Compare the answers that had all their state with what the same model says of the data sets."""
    brought = list(_brought_in(driver))
    parts: dict[int, list[PaymentAnswer]] = {}
    for answer in stream.answers:
        past = [at for at, one in enumerate(brought) if one.began - MARGIN < answer.answered]
        if past and answer.asked > brought[past[-1]].ended + MARGIN and not answer.score.degraded:
            parts.setdefault(past[-1], []).append(answer)
    sure = {answer.number for answers in parts.values() for answer in answers}
    with tempfile.TemporaryDirectory(prefix="fraudloop-demo-") as scratch:
        models = _models(driver, {answer.score.version for answer in stream.answers}, Path(scratch))
        offline = OfflineScores(stream.lines, models, frozenset(range(len(stream.lines))) - sure)
        differences = []
        for at, answers in sorted(parts.items()):
            dataset = Path(scratch) / f"{at}.parquet"  # without the folder's graph, which is larger
            storage.download(storage.join(brought[at].dataset, "transactions.parquet"), dataset)
            live = np.array([answer.score.probability for answer in answers])
            differences.append(np.abs(live - offline.of(dataset, brought[at].until, answers)))
    known = np.concatenate([np.zeros(0), *differences])
    known = known[~np.isnan(known)]
    return Compared(len(known), len(parts), float(known.max(initial=0.0)), len(stream.answers) - len(known))


def _models(driver: Driver, versions: Iterable[str], scratch: Path) -> dict[str, FraudModel]:
    root = driver.app.policies[MODEL].root
    folders = {name: f"{paths.version_folder(root, MODEL, name)}/model" for name in versions}
    return {name: load(storage.local(uri, scratch / name)) for name, uri in folders.items()}


def _brought_in(driver: Driver) -> Iterator[BroughtIn]:
    for run in driver.runs():
        history = list(driver.app.store.history(run.id))
        times = [entry.at for entry in history if entry.dest == State.MATERIALISING.value]
        after = [entry.at for entry in history if entry.source == State.MATERIALISING.value]
        for one in driver.report(run, Stage.MATERIALISE).get("details", {}).get("materialised", [])[:1]:
            yield BroughtIn(times[0], after[-1], run.output(Stage.PREPROCESS, "dataset"), int(one["until"]))


def _rows(dataset: Path, lines: Sequence[str], model: FraudModel, until: int) -> pl.DataFrame:
    """Both as clean columns in order of time; `payment` is a payment's number, -1 for a row of the data set."""
    data = model.feature_schema.data
    keys = [f"{side}_key" for side in data.relations]
    columns = [pl.col(f"clean_{name}").alias(name) for name in data.source]
    table = pl.read_parquet(dataset).filter(pl.col("time") < until)
    old = table.select("time", *keys, "label", KNOWN_AT, "split", CENTS, *columns, payment=pl.lit(-1))
    clean = LineReader(data).read([line.encode() for line in lines], datetime.now(UTC).date()).columns
    names = dict.fromkeys(["time", *keys, *data.source])
    new = pl.DataFrame({name: clean[name] for name in names}).with_columns(
        label=pl.lit(parser.UNKNOWN), known_at=pl.lit(parser.NEVER), split=pl.lit(0), clean_cents=pl.col("cents"),
        payment=pl.int_range(pl.len()),
    ).filter(pl.col("time") >= until)  # fmt: skip
    both = pl.concat([old, new.select(pl.col(name).cast(kind) for name, kind in old.schema.items())]).sort(
        "time", maintain_order=True
    )
    codes = {side: pl.col(f"{side}_key").rank("dense").cast(pl.Int32) for side in data.relations}
    return both.with_columns(**codes)
