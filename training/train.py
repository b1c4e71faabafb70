"""The train stage: seeds from the graph, the encoder, the boosted head on top, the threshold; one folder comes out."""

import hashlib
import logging
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from statemachine.core.order import Order
from training import features, head, storage, threshold
from training.config import TrainConfig
from training.distributed import fit_encoder_together
from training.encoder import Encoder
from training.fit import Checkpoints, Progress, fit_encoder
from training.graph import TRAIN, VALIDATE, load_graph
from training.history import Reader
from training.metrics import ranking
from training.model import FraudModel, encoder_of
from training.seeds import Seeds, at_most, thinned
from training.stage import Result

LOG = logging.getLogger("fraudloop.train")


@dataclass(frozen=True)
class StoredCheckpoint:
    """The latest state of a training as one file or object."""

    uri: str

    def read(self) -> bytes | None:
        """The state, or None if this training has not come so far."""
        return storage.read_bytes(self.uri) if storage.exists(self.uri) else None

    def write(self, body: bytes) -> None:
        """Replaces the state; a reader sees the old or the new one, never a part."""
        _replace(self.uri, body)


def train(order: Order) -> Result:
    """Work of the train stage (docs/contracts.md)."""
    config = TrainConfig.from_dict(order.parameters)
    with tempfile.TemporaryDirectory() as scratch:
        dataset = storage.local(order.inputs["dataset"], Path(scratch) / "dataset")
        checkpoint = StoredCheckpoint(_checkpoint_uri(order, dataset, config))
        model = train_model(dataset, config, checkpoint, _logged)
    uri = storage.join(order.output_uri, "model")
    model.save(uri)
    figures = {name: value for name, value in model.facts.items() if isinstance(value, float)}
    return Result(outputs={"model": uri}, metrics=figures, details={"config": config.as_dict()})


def train_model(dataset: str | Path, config: TrainConfig, checkpoints: Checkpoints, progress: Progress) -> FraudModel:
    """Trains on a local dataset folder; the same seed and data give the same model, bit for bit on one CPU."""
    if config.threads:
        torch.set_num_threads(config.threads)
    began = time.perf_counter()
    schema = storage.read_json(str(Path(dataset) / "schema.json"))
    row = row_features(schema)
    reader = Reader(load_graph(dataset, row), config.k, config.label_delay)
    seeds = thinned(reader.graph, TRAIN, config.negative_ratio, config.seed)
    checked = at_most(reader.graph, VALIDATE, config.validation_rows, config.seed)
    progress("seeds", {"train": len(seeds.ids), "validation": len(checked.ids), "transactions": len(reader.graph)})
    encoder, trail = None, {}
    if "embedding" in config.groups:
        fit = fit_encoder_together if config.processes > 1 else fit_encoder
        found = fit(reader, seeds, checked, config, checkpoints, progress)
        encoder = encoder_of(found.best, len(row), config)
        trail = {"encoder_epochs": float(found.epoch), "encoder_val_auc_roc": found.best_auc}
    inputs = [head_inputs(reader, part.ids, row, config, encoder) for part in (seeds, checked)]
    names = features.names(row, config.groups, config.hidden_dim)
    labels = [part.labels.numpy() for part in (seeds, checked)]
    booster = head.fit_head((inputs[0], labels[0]), (inputs[1], labels[1]), names, config, seeds.keep)
    scores, weights = head.predict(booster, inputs[1]), natural_weights(checked)
    facts = (
        trail
        | {f"val_{name}": value for name, value in ranking(labels[1], scores, weights).items()}
        | {"head_trees": float(booster.num_boosted_rounds()), "train_seconds": time.perf_counter() - began}
    )
    progress("trained", facts)
    return FraudModel(
        config, row, schema, encoder, booster, threshold.choose(labels[1], scores, weights, config), facts
    )


def row_features(schema: dict) -> tuple[str, ...]:
    """Names of the row features in the schema's order."""
    return tuple(item if isinstance(item, str) else item["name"] for item in schema["features"])


def head_inputs(
    reader: Reader, ids: torch.Tensor, row: Sequence[str], config: TrainConfig, encoder: Encoder | None
) -> NDArray[np.float32]:
    """The head's inputs [S, D] of many transactions, chunk by chunk."""
    parts = [features.inputs(block, row, config.groups, encoder, config.fan_out) for block in reader.blocks(ids)]
    return np.concatenate(parts)


def natural_weights(seeds: Seeds) -> NDArray[np.float64]:
    """Weights [S] that bring thinned transactions back to their natural number."""
    return np.where(seeds.labels.numpy() == 1, 1.0, 1 / seeds.keep)


def _replace(uri: str, body: bytes) -> None:
    """An object is replaced whole; for a file, the rename is what makes it so."""
    if storage.is_s3(uri):
        storage.write_bytes(uri, body)
        return
    storage.write_bytes(f"{uri}.part", body)
    Path(f"{uri}.part").replace(uri)


def _checkpoint_uri(order: Order, dataset: Path, config: TrainConfig) -> str:
    """Beside the attempts, named by data and config: a later attempt goes on, and twins write the same bytes."""
    print_of = hashlib.sha256(storage.dump_json(config.as_dict()))
    with open(dataset / "transactions.parquet", "rb") as file:
        print_of.update(hashlib.file_digest(file, "sha256").digest())
    stage = order.output_uri.rstrip("/").rsplit("/", 2)[0]
    return storage.join(stage, "checkpoints", f"{print_of.hexdigest()[:16]}.pt")


def _logged(event: str, figures: object) -> None:
    LOG.info(event, extra={"figures": figures})
