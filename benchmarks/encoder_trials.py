"""Encoders that were tried and not kept: pre-trained, over two hops, with a larger fan-out; paired with the present.

`python -m benchmarks.encoder_trials [--rows N] [--handbook-rows N] [--seeds 51,52,…] [--only pre-trained,…]`. Each
trial changes the trainer in this process alone. The rule to keep one: the lower bound of its paired gain in average
precision is above zero in most seeds of both generators.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.quality import DataGenerator, cpu_seconds, generated, sources
from benchmarks.results import bounds
from training.evaluation import bootstrap
from training.graph.graph import TEST, TRAIN, Graph, load_graph, taken
from training.graph.history import Reader
from training.graph.velocity import state_names
from training.model import cross_fitting, features, fit, head, training_set
from training.model.checkpoint import StoredCheckpoints
from training.model.config import TrainConfig
from training.model.encoder import Encoder, Width
from training.model.fit import EncoderTrainer, TrainingSet
from training.model.reading import head_inputs, own_features
from training.model.train import train_model

SEEDS, DRAWS = (51, 52, 53, 54, 55), 400
ROWS, HANDBOOK_ROWS = 700_000, 200_000
HOP = 8  # transactions a relation that the second hop sees of each neighbour
PRE_SEEDS, PRE_EPOCHS, KINDS = 100_000, 2, 64
Scores = NDArray[np.float32]
present_width = features.width


@dataclass(frozen=True)
class EncoderTrial:
    """A setting, and what changes the trainer while it is tried."""

    name: str
    config: Callable[[TrainConfig], TrainConfig] = lambda config: config
    change: Callable[[Path, TrainConfig], Any] | None = None


def run(given: Sequence[DataGenerator] | None = None, seeds: Sequence[int] = SEEDS, names: Sequence[str] = ()) -> None:
    """Train the present encoder and each trial on the same data, and print the paired gains."""
    chosen = [trial for trial in TRIALS if not names or trial.name in names]
    for source in given or sources(ROWS, HANDBOOK_ROWS):
        for seed in seeds:
            with tempfile.TemporaryDirectory() as scratch:
                dataset = generated(Path(scratch), source, seed)
                _compared(dataset, replace(TrainConfig(), seed=seed), source.name, chosen)


def gain(labels: NDArray[np.int8], ours: Scores, theirs: Scores, seed: int) -> dict[str, float]:
    """The paired gain in average precision, with its one-sided 95 % bounds."""
    first, second = bootstrap.resample(labels, [ours, theirs], DRAWS, seed)
    return bootstrap.difference(first.average_precision, second.average_precision)


def _compared(dataset: Path, config: TrainConfig, name: str, trials: Sequence[EncoderTrial]) -> None:
    present, labels, cpu = tested(dataset, config)
    print(f"  {name}, seed {config.seed}: as it is, {cpu:.0f} CPU-s of training", flush=True)
    for trial in trials:
        with (trial.change or _unchanged)(dataset, config):
            scores, _, spent = tested(dataset, trial.config(config))
        told = bounds(gain(labels, scores, present, config.seed))
        print(f"  {name}, seed {config.seed}: {trial.name:24s} {told}, {spent / cpu:.2f} times the CPU", flush=True)


def tested(dataset: Path, config: TrainConfig) -> tuple[Scores, NDArray[np.int8], float]:
    """Scores and labels of the test rows, and CPU seconds of the training."""
    with tempfile.TemporaryDirectory() as scratch:
        began = cpu_seconds()
        model = train_model(dataset, config, StoredCheckpoints(scratch), lambda *_: None)
        spent = cpu_seconds() - began
    reader = Reader(load_graph(dataset, model.row), config.k)
    test = reader.graph.where(TEST)
    scores = head.predict(model.booster, head_inputs(reader, test, config, model.encoders))
    return scores, reader.graph.label[test].numpy(), spent


@contextmanager
def _unchanged(dataset: Path, config: TrainConfig) -> Iterator[None]:
    yield


@contextmanager
def _pre_trained(dataset: Path, config: TrainConfig) -> Iterator[None]:
    """Encoders begin with weights that foretell the entity's next transaction, learned without any label.

    Targets: log of the next amount and of the seconds until then, and its first category, if the data have one.
    """
    weights: dict[str, Tensor] = {}
    original = EncoderTrainer.__init__

    def begin(self: EncoderTrainer, part: TrainingSet, *rest: Any, **named: Any) -> None:
        original(self, part, *rest, **named)
        if not weights:
            weights.update(_foretelling(dataset, training_set.prepared(dataset, config), config))
        self.encoder.load_state_dict(self.encoder.state_dict() | weights)

    with mock.patch.object(EncoderTrainer, "__init__", begin):
        yield


def _foretelling(dataset: Path, whole: TrainingSet, config: TrainConfig) -> dict[str, Tensor]:
    """The weights of an encoder that foretells, less those of the classifier."""
    torch.manual_seed(config.seed)
    graph = whole.reader.graph
    now, later = _followed(graph, config.seed)
    targets = torch.stack([_log(taken(graph.cents, later)), _log(taken(graph.time, later) - taken(graph.time, now))], 1)
    targets = (targets - targets.mean(0)) / targets.std(0).clamp(min=1e-3)
    kinds = _kinds(dataset, later.numpy())
    encoder = Encoder(present_width(graph.features, config, graph.sides))
    numbers, kind = nn.Linear(config.hidden_dim, 2), nn.Linear(config.hidden_dim, KINDS)
    parameters = [weight for module in (encoder, numbers, kind) for weight in module.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
    own = own_features(whole.reader, now)
    for _ in range(PRE_EPOCHS):
        for batch in torch.split(torch.randperm(len(now)), config.batch_size):
            messages = whole.message_builder(own[batch], whole.reader.edges(now[batch], config.fan_out))
            embedding, _ = encoder(messages)
            loss = nn.functional.smooth_l1_loss(numbers(embedding), targets[batch])
            if kinds is not None:
                loss = loss + nn.functional.cross_entropy(kind(embedding), kinds[batch])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    return {name: tensor for name, tensor in encoder.state_dict().items() if not name.startswith("classify")}


def _followed(graph: Graph, seed: int) -> tuple[Tensor, Tensor]:
    """Transactions of the training period, drawn, and the next one of each one's first entity, of that period too."""
    line = graph.timelines[graph.sides[0]]
    order, first = torch.as_tensor(line.order).long(), torch.as_tensor(line.first)
    follows = first[order[1:]] == first[order[:-1]]
    now, later = order[:-1][follows], order[1:][follows]
    inside = (graph.split[now] == TRAIN) & (graph.split[later] == TRAIN)
    now, later = now[inside], later[inside]
    drawn = torch.randperm(len(now), generator=torch.Generator().manual_seed(seed))[:PRE_SEEDS]
    return now[drawn], later[drawn]


def _kinds(dataset: Path, ids: NDArray[np.int64]) -> Tensor | None:
    """The first category of these transactions, as one of `KINDS` numbers; None if the data have none."""
    file = dataset / "transactions.parquet"
    names = [name for name in pl.read_parquet_schema(file) if name.startswith("clean_") and name != "clean_cents"]
    if not names:
        return None
    values = pl.read_parquet(file, columns=names[:1])[names[0]].cast(pl.String).rank("dense").fill_null(0)
    return torch.from_numpy(values.to_numpy().astype(np.int64)[ids] % KINDS)


def _log(values: Tensor) -> Tensor:
    return values.abs().double().add(1).log().float()


@contextmanager
def _two_hops(dataset: Path, config: TrainConfig) -> Iterator[None]:
    """A neighbour also brings the mean row features of its own `HOP` last neighbours of each relation."""

    def node_features(self: Reader) -> Tensor:
        first = Reader.__dict__["_one_hop"].__get__(self, Reader)
        return torch.cat([first, *(_mean_before(self.graph, side) for side in self.graph.sides)], dim=1)

    def wider(row: Sequence[str], config: TrainConfig, sides: Sequence[str]) -> Width:
        one = present_width(row, config, sides)
        return replace(one, neighbour=len(row) * (1 + len(sides)) + len(state_names(sides)))

    one_hop, two_hops = Reader.__dict__["node_features"], cached_property(node_features)
    two_hops.__set_name__(Reader, "node_features")
    aside = cached_property(one_hop.func)
    aside.__set_name__(Reader, "_one_hop")
    with (
        mock.patch.object(Reader, "_one_hop", aside, create=True),
        mock.patch.object(Reader, "node_features", two_hops),
        mock.patch.object(fit, "width", wider),
        mock.patch.object(cross_fitting, "width", wider),
        mock.patch.object(features, "width", wider),
    ):
        yield


def _mean_before(graph: Graph, side: str) -> Tensor:
    """Mean row features [N, F] of the last `HOP` earlier transactions of each transaction's entity."""
    parts = []
    for ids in torch.split(torch.arange(len(graph)), 32_768):
        earlier, present = graph.timelines[side].previous(ids, HOP)
        rows = taken(graph.row, earlier) * present[..., None]
        parts.append(rows.sum(1) / present.sum(1, keepdim=True).clamp(min=1))
    return torch.cat(parts)


TRIALS = (
    EncoderTrial("pre-trained", change=_pre_trained),
    EncoderTrial("two hops", change=_two_hops),
    # Twice the edges of half the seeds cost about the same.
    EncoderTrial("fan-out 32, half the seeds", lambda config: replace(config, fan_out=32, encoder_negative_ratio=15.0)),
)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encoder_trials", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--handbook-rows", type=int, default=HANDBOOK_ROWS)
    parser.add_argument("--seeds", default=",".join(str(seed) for seed in SEEDS))
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    run(sources(arguments.rows, arguments.handbook_rows), seeds, [name for name in arguments.only.split(",") if name])


if __name__ == "__main__":
    main()
