"""What training's code says of the payments that were scored live.

The answer to a payment depends on the state that the online store had then: the data set that a run had brought in, up
to its `until`, and the payments before. The offline side computes the features of exactly these rows from the data set.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

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
    """How many answers were compared with offline scores, how many fell into a change of the store, and the largest
    difference.
    """

    count: int
    between: int
    largest: float


def compared(driver: Driver, stream: PaymentStream) -> Compared:
    """Compare the answers that had all their state with what the same model says of the data sets."""
    brought = list(_brought_in(driver))
    whole = [answer for answer in stream.answers if not answer.score.degraded]
    parts: dict[int, list[PaymentAnswer]] = {}
    for answer in whole:
        past = [at for at, one in enumerate(brought) if one.began - MARGIN < answer.answered]
        if past and answer.asked > brought[past[-1]].ended + MARGIN:
            parts.setdefault(past[-1], []).append(answer)
    largest = 0.0
    with tempfile.TemporaryDirectory(prefix="fraudloop-demo-") as scratch:
        models: dict[str, FraudModel] = {}
        for at, answers in parts.items():
            dataset = Path(scratch) / f"{at}.parquet"  # without the folder's graph, which is larger
            storage.download(storage.join(brought[at].dataset, "transactions.parquet"), dataset)
            for version in {answer.score.version for answer in answers} - models.keys():
                uri = paths.version_folder(driver.app.policies[MODEL].root, MODEL, version)
                models[version] = load(storage.local(f"{uri}/model", Path(scratch) / version))
            offline = _offline(dataset, brought[at].until, stream.lines[: answers[-1].number + 1], answers, models)
            live = np.array([answer.score.probability for answer in answers])
            largest = max(largest, float(np.abs(live - offline).max()))
    count = sum(map(len, parts.values()))
    return Compared(count, len(whole) - count, largest)


def _brought_in(driver: Driver) -> Iterator[BroughtIn]:
    for run in driver.runs():
        history = list(driver.app.store.history(run.id))
        times = [entry.at for entry in history if entry.dest == State.MATERIALISING.value]
        after = [entry.at for entry in history if entry.source == State.MATERIALISING.value]
        for one in driver.report(run, Stage.MATERIALISE).get("details", {}).get("materialised", [])[:1]:
            yield BroughtIn(times[0], after[-1], run.output(Stage.PREPROCESS, "dataset"), int(one["until"]))


def _offline(
    dataset: Path,
    until: int,
    lines: Sequence[str],
    answers: Sequence[PaymentAnswer],
    models: Mapping[str, FraudModel],
) -> NDArray[np.float64]:
    """The scores [N] of these answers' payments: the data set's rows before `until`, then the payments from then on."""
    any_model = next(iter(models.values()))
    rows = _rows(dataset, lines, any_model, until)
    place = rows["payment"].to_numpy()
    where = {int(number): at for at, number in enumerate(place) if number >= 0}
    scores = np.zeros(len(answers))
    for version in {answer.score.version for answer in answers}:
        model = models[version]
        table = schema.row_features(rows, model.feature_schema)
        reader = Reader(graph_of(table, model.row, model.sides, unit_of(model.schema)), model.config.k)
        chosen = [at for at, answer in enumerate(answers) if answer.score.version == version]
        ids = torch.tensor([where[answers[at].number] for at in chosen])
        scores[chosen] = np.concatenate([model.score(block) for block in reader.blocks(ids)])
    return scores


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
