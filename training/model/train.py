"""The train stage: seeds from the graph, cross-fitted encoders, the boosted head on top, the threshold."""

import hashlib
import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from statemachine.contracts import paths
from statemachine.contracts.stage_request import StageRequest
from training import storage
from training.graph.graph import VALIDATE
from training.graph.history import Reader
from training.integrity import write_manifest
from training.model import features, head, threshold
from training.model.checkpoint import StoredCheckpoints
from training.model.config import TrainConfig
from training.model.cross_fitting import fit_encoders, left_out_scores, scoring
from training.model.distributed import fit_encoders_together
from training.model.encoder import Encoders
from training.model.fit import CHECKPOINT_FORMAT, Progress, TrainingSet, TrainState
from training.model.head import Sample
from training.model.metrics import ranking
from training.model.model import FraudModel
from training.model.reading import PART, head_inputs
from training.model.seeds import Seeds, at_most
from training.model.training_set import prepared
from training.outcome import Permanent, StageResult

LOG = logging.getLogger("fraudloop.train")
Fit = Callable[[Path, TrainingSet, TrainConfig, StoredCheckpoints, Progress], list[TrainState]]


def train(order: StageRequest) -> StageResult:
    """Work of the train stage (docs/contracts.md)."""
    config = TrainConfig.from_dict(order.parameters)
    with tempfile.TemporaryDirectory(prefix="fraudloop-train-") as scratch:
        dataset = storage.local(order.inputs["dataset"], Path(scratch) / "dataset")
        checkpoints = StoredCheckpoints(_checkpoints(order, dataset, config))
        fit = _on_nodes(order) if config.nodes > 1 else encoder_states
        model = train_model(dataset, config, checkpoints, _logged, fit)
        uri = storage.join(order.output_uri, "model")
        model.save(Path(scratch) / "model")
        write_manifest(Path(scratch) / "model")  # a redrive compares it
        storage.upload_folder(Path(scratch) / "model", uri)
    return StageResult(outputs={"model": uri}, metrics=dict(model.facts), details={"config": config.as_dict()})


def train_model(
    dataset: Path, config: TrainConfig, checkpoints: StoredCheckpoints, progress: Progress, fit: Fit | None = None
) -> FraudModel:
    """Trains on a local data set folder; the same seed and data give the same model, bit for bit on one CPU."""
    if config.threads:
        torch.set_num_threads(config.threads)
    began = time.perf_counter()
    training_set = prepared(dataset, config)
    progress("seeds", {"train": len(training_set.train.ids), "frauds": float(training_set.train.labels.sum())})
    states = (
        (fit or encoder_states)(dataset, training_set, config, checkpoints, progress)
        if "embedding" in config.groups
        else []
    )
    encoders = scoring(states, training_set, config) if states else None
    validation = at_most(training_set.reader.graph, VALIDATE, config.validation_rows, config.seed)
    validation_sample = sample(training_set.reader, validation, config, encoders)
    train_sample = Sample(
        _training_inputs(training_set, config, encoders), training_set.train.labels.numpy(), training_set.train.keep
    )
    row, sides = training_set.reader.graph.features, training_set.reader.graph.sides
    del training_set  # the head needs its memory
    booster = head.fit_head(train_sample, validation_sample, features.names(row, config.groups, sides), config)
    labels, weights = validation_sample.labels, validation_sample.weights()
    scores = head.predict(booster, validation_sample.inputs)
    facts = _facts(states) | {f"val_{name}": value for name, value in ranking(labels, scores, weights).items()}
    facts |= {"head_trees": float(booster.num_boosted_rounds())}
    # How long it took is reported, not saved: equal models must have equal bytes, and so the same version hash.
    progress("trained", facts | {"seconds": time.perf_counter() - began})
    schema, chosen = storage.read_json(str(dataset / "schema.json")), threshold.choose(labels, scores, weights, config)
    # They were float32 before scoring made them float64: nothing is lost.
    kept = None if encoders is None else {name: one.float() for name, one in encoders.state_dict().items()}
    return FraudModel(config, row, schema, kept, booster, chosen, facts)


def sample(reader: Reader, seeds: Seeds, config: TrainConfig, encoders: Encoders | None) -> Sample:
    """The head's inputs of some seeds."""
    return Sample(head_inputs(reader, seeds.ids, config, encoders), seeds.labels.numpy(), seeds.keep)


def encoder_states(
    dataset: Path, training_set: TrainingSet, config: TrainConfig, checkpoints: StoredCheckpoints, progress: Progress
) -> list[TrainState]:
    """Fits the encoders on this machine. Raises `Permanent` if the config asks for several."""
    if config.nodes > 1:
        raise Permanent("train: nodes is above 1, which takes Kubeflow Trainer: it is only possible in a cluster")
    if config.processes > 1:
        return fit_encoders_together(dataset, config, checkpoints, progress)
    return fit_encoders(training_set, config, checkpoints, progress)


def _on_nodes(order: StageRequest) -> Fit:
    from training.model.train_job import on_nodes  # only here: it takes the Kubernetes client

    return on_nodes(order).fit


def _training_inputs(training_set: TrainingSet, config: TrainConfig, encoders: Encoders | None) -> NDArray[np.float32]:
    """The training seeds' inputs; their graph scores come from encoders that were not trained on them."""
    row, sides = training_set.reader.graph.features, training_set.reader.graph.sides
    everything = features.names(row, features.OWN, sides)
    chosen = [everything.index(name) for name in features.names(row, config.groups, sides) if name in everything]
    own, scores = training_set.train_own, []
    if encoders is not None:
        scores = [left_out_scores(training_set, encoders, config)]
    inputs = torch.empty(len(own), len(chosen) + len(scores))
    for place, part in zip(torch.split(inputs, PART), torch.split(own, PART), strict=True):
        place[:, : len(chosen)] = part[:, chosen]
    for score in scores:
        inputs[:, len(chosen) :] = score
    return inputs.numpy()


def _facts(states: Sequence[TrainState]) -> dict[str, float]:
    if not states:
        return {}
    epochs, aucs = [state.epoch for state in states], [state.best_auc for state in states]
    return {"encoder_epochs": sum(epochs) / len(epochs), "encoder_val_auc_roc": sum(aucs) / len(aucs)}


def _checkpoints(order: StageRequest, dataset: Path, config: TrainConfig) -> str:
    """Beside the attempts, named by data and config: a later attempt resumes; duplicate pods write equal bytes."""
    identity = hashlib.sha256(storage.dump_json({"checkpoint_format": CHECKPOINT_FORMAT} | config.as_dict()))
    with open(dataset / "transactions.parquet", "rb") as file:
        identity.update(hashlib.file_digest(file, "sha256").digest())
    return storage.join(paths.checkpoints_beside(order.output_uri), identity.hexdigest()[:16])


def _logged(event: str, metrics: object) -> None:
    LOG.info(event, extra={"metrics": metrics})
