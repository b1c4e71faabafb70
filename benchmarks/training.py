"""Training speed: our sampler and step beside PyG's NeighborLoader, two processes beside one; peak memory by size.

NeighborLoader needs torch-sparse, which this project does not install. It is compared if this interpreter, or the one
in
`FRAUDLOOP_PEER_PYTHON`, can import it (`pip install --no-build-isolation torch-scatter torch-sparse`). Both sides train
one encoder of the same width on the same seeds for one epoch. The peer's graph is the usual one, with card and merchant
nodes between transactions, sampled two hops deep so that a seed gets `fan_out` transactions per side. Messages,
aggregators and optimiser are of the same kind. The peer samples uniformly from past and future, because with
torch-sparse the loader cannot take the last transactions before the seed. Every measurement runs in its own process.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch_geometric.data import HeteroData
from torch_geometric.loader import NeighborLoader
from torch_geometric.nn import HeteroConv, SAGEConv

from benchmarks import peers
from benchmarks.results import Measurement, measurement
from training.graph.block import DAY, SIDES
from training.graph.graph import TRAIN, Graph
from training.graph.history import Reader
from training.graph.velocity import SOURCES
from training.model.checkpoint import StoredCheckpoints
from training.model.config import TrainConfig
from training.model.encoder import MessageBuilder
from training.model.features import width
from training.model.fit import DistributedContext, EncoderTrainer, TrainingSet
from training.model.reading import own_features
from training.model.seeds import Seeds
from training.model.train import encoder_states
from training.model.training_set import prepared

ROWS, SEEDS = 1_000_000, 50_000
SIZES = (1_000_000, 5_000_000)
TOGETHER, EPOCHS = 300_000, 4
CARDS_PER_ROW, MERCHANTS_PER_ROW = 1 / 500, 1 / 200
FEATURES = (*SOURCES, *(f"feature_{number}" for number in range(21)))
CONFIG = TrainConfig(threads=2)
PEER = "PyG NeighborLoader, same fan-out"


def run(rows: int = ROWS, seeds: int = SEEDS) -> list[Measurement]:
    """All measurements."""
    ours, theirs = _child("ours", rows, seeds), _peer(rows, seeds)
    measurements = [measurement("train.vs_neighborloader", ours["seeds_per_s"], "seeds/s", PEER, theirs)]
    for size in SIZES:
        peak = _child("memory", size, seeds)["gigabytes"]
        measurements.append(measurement(f"train.peak_rss_{size // 1_000_000}m", peak, "GB"))
    return [*measurements, *two_processes()]


def two_processes(rows: int = TOGETHER) -> list[Measurement]:
    """Seconds of fitting all encoders by torchrun with two processes of one thread, beside one process of two."""
    with tempfile.TemporaryDirectory(prefix="fraudloop-bench-") as scratch:
        made = peers.dataset(Path(scratch), rows)
        seconds = {}
        for processes in (1, 2):
            config = replace(CONFIG, epochs=EPOCHS, patience=EPOCHS, processes=processes, threads=2 // processes)
            torch.set_num_threads(config.threads)
            training_set, checkpoints = prepared(made, config), StoredCheckpoints(f"{scratch}/{processes}")
            began = time.perf_counter()
            encoder_states(made, training_set, config, checkpoints, lambda *_: None)
            seconds[processes] = time.perf_counter() - began
    print(
        f"  {rows:,} transactions, {EPOCHS} epochs, {processes} processes: {seconds[2]:.1f} s, one {seconds[1]:.1f} s"
    )
    return [measurement("train.two_processes_s", seconds[2], "s", "one process of two threads", seconds[1])]


def synthetic(rows: int, seed: int = 0) -> Graph:
    """Return a graph with skewed merchants and 26 random row features; their meaning does not affect the speed."""
    generator = torch.Generator().manual_seed(seed)
    cards, merchants = max(int(rows * CARDS_PER_ROW), 2), max(int(rows * MERCHANTS_PER_ROW), 2)
    popularity = torch.rand(rows, generator=generator) ** 3
    time = torch.randint(0, 4 * 365 * 86_400, (rows,), generator=generator).sort().values
    return Graph(
        time=time,
        entities={
            "card": torch.randint(0, cards, (rows,), generator=generator, dtype=torch.int32),
            "merchant": (popularity * merchants).to(torch.int32),
        },
        label=(torch.rand(rows, generator=generator) < 0.03).to(torch.int8),
        known_day=(time // DAY + 30).int(),
        split=torch.full((rows,), TRAIN, dtype=torch.int8),
        row=torch.randn(rows, len(FEATURES), generator=generator),
        features=FEATURES,
        cents=torch.randint(0, 100_000, (rows,), generator=generator),
    )


def seeds_of(graph: Graph, count: int) -> Seeds:
    """Return the seeds of both sides."""
    ids = torch.randperm(len(graph), generator=torch.Generator().manual_seed(1))[:count].sort().values
    return Seeds(ids, graph.label[ids], 1.0)


def ours(rows: int, count: int) -> dict[str, float]:
    """Seeds per second in one epoch: neighbours, messages, forward, backward, optimiser."""
    trainer, training_set = _fitting(rows, count)
    began = time.perf_counter()
    loss = trainer.epoch(training_set, trainer.encoder)
    return {"seeds_per_s": count / (time.perf_counter() - began), "loss": loss}


def memory(rows: int, count: int) -> dict[str, float]:
    """Peak resident memory of a whole epoch, with data and states."""
    ours(rows, count)
    return {"gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}


def peer(rows: int, count: int) -> dict[str, float]:
    """The same for NeighborLoader."""
    if CONFIG.threads:
        torch.set_num_threads(CONFIG.threads)
    graph = synthetic(rows)
    seeds = seeds_of(graph, count)
    data = _bipartite(graph)
    loader = NeighborLoader(
        data,
        num_neighbors={kind: [1, 0] if kind[2] == "transaction" else [0, CONFIG.fan_out] for kind in data.edge_types},
        input_nodes=("transaction", seeds.ids),
        batch_size=CONFIG.batch_size,
        shuffle=True,
    )
    model = _TwoHops(len(FEATURES), CONFIG.hidden_dim)
    optimizer = torch.optim.AdamW(model.parameters(), lr=CONFIG.learning_rate, fused=True)
    began = time.perf_counter()
    for batch in loader:
        size = batch["transaction"].batch_size
        wanted = batch["transaction"].y[:size].float()
        optimizer.zero_grad(set_to_none=True)
        nn.functional.binary_cross_entropy_with_logits(model(batch)[:size], wanted).backward()
        optimizer.step()
    return {"seeds_per_s": count / (time.perf_counter() - began)}


class _TwoHops(nn.Module):
    """GraphSAGE from transactions over their cards and merchants to transactions."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.message = nn.Sequential(nn.Linear(features, hidden), nn.ReLU())
        self.into = HeteroConv(
            {("transaction", "of", side): SAGEConv((hidden, 1), hidden, aggr=["mean", "max"]) for side in SIDES}
        )
        self.back = HeteroConv({(side, "has", "transaction"): SAGEConv((hidden, features), hidden) for side in SIDES})
        self.classify = nn.Linear(hidden, 1)

    def forward(self, batch: HeteroData) -> torch.Tensor:
        """Return logits [nodes]."""
        first = {**batch.x_dict, "transaction": self.message(batch["transaction"].x)}
        middle = {name: torch.relu(x) for name, x in self.into(first, batch.edge_index_dict).items()}
        features = {"transaction": batch["transaction"].x, **middle}
        return self.classify(torch.relu(self.back(features, batch.edge_index_dict)["transaction"])).squeeze(1)


def _bipartite(graph: Graph) -> HeteroData:
    data = HeteroData()
    data["transaction"].x, data["transaction"].y = graph.row, graph.label
    rows = torch.arange(len(graph))
    for side in SIDES:
        codes = graph.entities[side].long()
        data[side].x = torch.zeros(int(codes.max()) + 1, 1)
        data["transaction", "of", side].edge_index = torch.stack([rows, codes])
        data[side, "has", "transaction"].edge_index = torch.stack([codes, rows])
    return data


def _fitting(rows: int, count: int) -> tuple[EncoderTrainer, TrainingSet]:
    if CONFIG.threads:
        torch.set_num_threads(CONFIG.threads)
    graph = synthetic(rows)
    reader, seeds = Reader(graph, CONFIG.k), seeds_of(graph, count)
    own = own_features(reader, seeds.ids)
    message_builder = MessageBuilder(width(FEATURES, CONFIG))
    message_builder.own.fit(own)
    message_builder.neighbour.fit(reader.node_features[seeds.ids])
    training_set = TrainingSet(reader, CONFIG.fan_out, seeds, own, seeds, own, message_builder)
    return EncoderTrainer(training_set, CONFIG, DistributedContext()), training_set


def _peer(rows: int, count: int) -> float | None:
    python = os.environ.get("FRAUDLOOP_PEER_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import torch_sparse"], capture_output=True, check=False).returncode:
        print(f"  {python} cannot import torch_sparse: no peer; see FRAUDLOOP_PEER_PYTHON")
        return None
    return _child("peer", rows, count, python)["seeds_per_s"]


def _child(what: str, rows: int, count: int, python: str = sys.executable) -> dict[str, float]:
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    command = [python, "-m", "benchmarks.training", what, str(rows), str(count)]
    output = (
        subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment).stdout.decode().splitlines()[-1]
    )
    print(f"  {what}, {rows:,} transactions, {count:,} seeds: {output}", flush=True)
    measurements: dict[str, float] = json.loads(output)
    return measurements


if __name__ == "__main__":
    measure = {"ours": ours, "memory": memory, "peer": peer}[sys.argv[1]]
    print(json.dumps(measure(int(sys.argv[2]), int(sys.argv[3]))))
