"""Every declared setting changes what it should, and a training repeats itself bit for bit."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from training import storage
from training.graph.graph import VALIDATE
from training.model import features, head, threshold
from training.model.checkpoint import StoredCheckpoints
from training.model.config import TrainConfig
from training.model.cross_fitting import fit_encoders, folds
from training.model.fit import DistributedContext, EncoderTrainer, TrainState, batches
from training.model.seeds import Seeds, at_most, thinned
from training.model.train import train_model
from training.model.training_set import prepared

Nothing = dict[str, bytes]


class Memory:
    """Checkpoints that are kept in memory, and counted."""

    def __init__(self) -> None:
        self.kept: Nothing = {}
        self.writes = 0

    def read(self, part: str) -> bytes | None:
        return self.kept.get(part)

    def write(self, part: str, body: bytes) -> None:
        self.kept[part] = body
        self.writes += 1


def silent(event: str, figures: object) -> None:
    """No progress."""


def weights(dataset: Path, config: TrainConfig) -> list[torch.Tensor]:
    """All weights of the encoders that a config makes."""
    states = fit_encoders(prepared(dataset, config), config, Memory(), silent)
    return [tensor for state in states for tensor in state.best.values()]


def _toy_head(config: TrainConfig) -> str:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 12)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] * x[:, 2] + 0.3 * rng.normal(size=3000) > 1).astype(np.int8)
    names = [f"f{n}" for n in range(12)]
    booster = head.fit_head(head.Sample(x[:2000], y[:2000]), head.Sample(x[2000:], y[2000:]), names, config)
    return bytes(booster.save_raw("json")).decode()


def _chosen(config: TrainConfig) -> float:
    labels = np.array([1, 1, 0, 1, 0, 0, 1] + [0] * 993, dtype=np.int8)
    scores = np.linspace(1, 0, 1000, dtype=np.float32)
    return threshold.choose(labels, scores, np.ones(1000), config)


def _steps(config: TrainConfig) -> list[int]:
    seeds = Seeds(torch.arange(1000), torch.zeros(1000), 1.0)
    return [len(batch) for batch in batches(seeds, config, TrainState(), DistributedContext())]


HEAD = TrainConfig(head_rounds=40, head_patience=20, head_learning_rate=0.3, head_subsample=0.5, threads=1)
# Each setting with another value and the part of a training that must come out differently for it.
EFFECTS = {
    "seed": ("weights", 2),
    "k": ("training_pairs", 4),
    "negative_ratio": ("training_pairs", 2),
    "encoder_negative_ratio": ("folds", 1),
    "fan_out": ("weights", 2),
    "hidden_dim": ("weights", 4),
    "learning_rate": ("weights", 0.01),
    "weight_decay": ("weights", 0.5),
    "dropout": ("weights", 0.6),
    "epochs": ("weights", 1),
    "folds": ("folds", 3),
    "encoder_validation_rows": ("training_pairs", 500),
    "patience": ("over", 1),
    "batch_size": ("steps", 100),
    "groups": ("names", ("row",)),
    "head_rounds": ("head", 2),
    "head_patience": ("head", 1),
    "head_learning_rate": ("head", 0.5),
    "head_max_depth": ("head", 2),
    "head_max_bin": ("head", 8),
    "head_min_child_weight": ("head", 20.0),
    "head_subsample": ("head", 0.3),
    "head_colsample": ("head", 0.2),
    "head_base_score": ("head", 0.01),
    "validation_rows": ("validation", 500),
    "threshold_rule": ("threshold", "fpr_budget"),
    "fpr_budget": ("threshold under fpr_budget", 0.1),
    "missed_fraud_cost": ("threshold under cost", 1.0),
    "false_alarm_cost": ("threshold under cost", 90.0),
}
NO_EFFECT_HERE = {
    "threads": "how many cores are used; the figures may differ in the last digit",
    "processes": "test_distributed",
    "nodes": "test_train_job",
    "amp": "mixed precision needs CUDA: written, and not run on machines without a GPU",
}


@pytest.mark.parametrize("name", EFFECTS)
def test_each_setting_has_its_effect(name: str, dataset: Path, small: TrainConfig) -> None:
    """With another value, the part of the training that the setting is about comes out differently."""
    part, value = EFFECTS[name]
    changed: dict[str, Any] = {name: value}
    parts: dict[str, Callable[[TrainConfig], Any]] = {
        "weights": lambda config: weights(dataset, config),
        "training_pairs": lambda config: _training_pairs(dataset, config),
        "folds": lambda config: [len(fold.trained_on) for fold in folds(prepared(dataset, config).train, config)],
        "over": lambda config: TrainState(epoch=4, best_epoch=2).over(replace(config, epochs=9)),
        "steps": _steps,
        "names": lambda config: features.names(("amount_log",), config.groups),
        "validation": lambda config: len(
            at_most(prepared(dataset, config).reader.graph, VALIDATE, config.validation_rows, 1).ids
        ),
    }
    made: Callable[[TrainConfig], Any]
    if part == "head":
        base, made = HEAD, _toy_head
    elif part.startswith("threshold"):
        rule = part.removeprefix("threshold under ") if "under" in part else "max_f1"
        base, made = replace(HEAD, threshold_rule=rule), _chosen
    else:
        base, made = small, parts[part]
    assert not _same(made(base), made(replace(base, **changed)))


def _training_pairs(dataset: Path, config: TrainConfig) -> list[torch.Tensor]:
    training_set = prepared(dataset, config)
    return [training_set.train.ids, training_set.train_own, training_set.validation.ids]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and one and isinstance(one[0], torch.Tensor):
        return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def test_the_same_seed_gives_the_same_model(dataset: Path, small: TrainConfig, tmp_path: Path) -> None:
    """Two trainings of the same data and seed write the same bytes, so their versions have the same hash."""
    for number in (1, 2):
        checkpoints = StoredCheckpoints(str(tmp_path / f"checkpoints-{number}"))
        train_model(dataset, small, checkpoints, silent).save(tmp_path / f"model-{number}")
    for name in ("encoder.safetensors", "head.json", "config.json", "schema.json", "model.json"):
        one, other = ((tmp_path / f"model-{number}" / name).read_bytes() for number in (1, 2))
        assert one == other, name


def test_a_stopped_training_resumes_to_the_same_result(dataset: Path, small: TrainConfig) -> None:
    """Stopped after any epoch and resumed, the weights are those of a training that was never stopped."""
    training_set, whole = prepared(dataset, small), Memory()
    wanted = fit_encoders(training_set, small, whole, silent)

    class Stopped(Exception):
        """The process ends here."""

    for stop in range(1, whole.writes):
        memory = Memory()

        def write(part: str, body: bytes, memory: Memory = memory, stop: int = stop) -> None:
            Memory.write(memory, part, body)
            if memory.writes == stop:
                raise Stopped

        memory.write = write  # type: ignore[method-assign]
        with pytest.raises(Stopped):
            fit_encoders(training_set, small, memory, silent)
        resumed = Memory()
        resumed.kept = memory.kept
        found = fit_encoders(training_set, small, resumed, silent)
        for one, other in zip(wanted, found, strict=True):
            assert one.losses == other.losses
            assert all(torch.equal(one.best[name], other.best[name]) for name in one.best)


KILLED = """
import sys
from pathlib import Path
from training.model.checkpoint import StoredCheckpoints
from training.model.config import TrainConfig
from training.model.train import train_model
from training import storage
dataset, config, folder = sys.argv[1:]
say = lambda event, figures: print(event, flush=True)
config = TrainConfig.from_dict(storage.read_json(config))
model = train_model(Path(dataset), config, StoredCheckpoints(folder + "/checkpoints"), say)
model.save(folder + "/model")
"""


def test_a_killed_process_resumes_to_the_same_model(dataset: Path, small: TrainConfig, tmp_path: Path) -> None:
    """`kill -9` in the middle of an epoch; the next process goes on from the checkpoint and writes the same bytes."""
    config = replace(small, epochs=4, patience=4)
    storage.write_json(str(tmp_path / "config.json"), config.as_dict())
    train_model(dataset, config, StoredCheckpoints(str(tmp_path / "whole")), silent).save(tmp_path / "wanted")
    command = [sys.executable, "-c", KILLED, str(dataset), str(tmp_path / "config.json"), str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("encoder-0"):
            time.sleep(0.02)
            os.kill(process.pid, signal.SIGKILL)
            break
    process.stdout.close()
    assert process.wait(60) == -signal.SIGKILL
    assert (tmp_path / "checkpoints" / "encoder-0.pt").exists()
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=120).stdout
    assert output.count("encoder-0") < config.epochs
    for name in ("encoder.safetensors", "head.json"):
        assert (tmp_path / "model" / name).read_bytes() == (tmp_path / "wanted" / name).read_bytes()


def test_training_stops_early(dataset: Path, small: TrainConfig) -> None:
    """With no learning there is no improvement: after `patience` more epochs it ends, long before `epochs`."""
    config = replace(small, learning_rate=0.0, weight_decay=0.0, epochs=20, patience=2)
    assert [state.epoch for state in fit_encoders(prepared(dataset, config), config, Memory(), silent)] == [3, 3]


def test_seeds_are_thinned_and_the_graph_is_not(dataset: Path, small: TrainConfig) -> None:
    """All frauds of train and `negative_ratio` times as many others are seeds; all rows stay in the graph."""
    training_set = prepared(dataset, small)
    frauds = int((training_set.train.labels == 1).sum())
    assert len(training_set.reader.graph) == 20_000
    assert len(training_set.train.ids) == frauds * (1 + small.negative_ratio)
    whole = thinned(training_set.reader.graph, 0, 1e9, 1)
    assert whole.keep == 1.0
    assert frauds == int((whole.labels == 1).sum())
    assert training_set.train.keep == pytest.approx(small.negative_ratio * frauds / int((whole.labels == 0).sum()))


def test_a_step_learns(dataset: Path, small: TrainConfig) -> None:
    """Repeated on one batch, the loss falls."""
    training_set = prepared(dataset, small)
    trainer = EncoderTrainer(training_set, replace(small, dropout=0.0, learning_rate=0.01), DistributedContext())
    messages, wanted = trainer.read(training_set, torch.arange(64))
    losses = [float(trainer.step(messages, wanted, trainer.encoder)) for _ in range(20)]
    assert losses[-1] < losses[0] / 2
