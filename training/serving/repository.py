"""Writes the model repository that Triton loads: three models, each with its files, its own code and a manifest."""

import shutil
from pathlib import Path

import numpy as np

from training import integrity
from training.model.model import FraudModel
from training.serving import config_pbtxt, triton_model
from training.serving.closure import copy_code
from training.serving.graph_request import node_columns
from training.serving.prediction_and_shapley import PredictionAndShapley

MODELS = ("fraud_live", "fraud_score", "prediction_and_shapley")
RAW = ("fraud_live", "fraud_score")  # these take raw transactions
CODE = "training.serving.adapter"


def write_repository(folder: Path, name: str, model: FraudModel, example: bytes) -> None:
    """Write the repository of `model`, called `name`, without the version; `example` is a transaction to warm up."""
    configs = {
        "fraud_live": config_pbtxt.fraud_live(name, model.threshold, model.feature_schema.data),
        "fraud_score": config_pbtxt.fraud_score(model.inputs, model.threshold, model.feature_schema.data),
        "prediction_and_shapley": config_pbtxt.prediction_and_shapley(
            (*model.row, *node_columns(model.sides)), PredictionAndShapley(model).base_value()
        ),
    }
    for served, config in configs.items():
        version = folder / served / "1"
        (version / "model").mkdir(parents=True)
        model.save(version / "model")
        copy_code(version / "code", CODE)
        shutil.copyfile(triton_model.__file__, version / "model.py")
        integrity.write_manifest(version)
        (folder / served / "config.pbtxt").write_text(config)
    for served in RAW:
        warm_up = folder / served / "warmup"
        warm_up.mkdir()
        (warm_up / "transaction").write_bytes(np.uint32(len(example)).tobytes() + example)


def stamp(folder: Path, version: str) -> None:
    """Write the version into all configs."""
    for name in MODELS:
        file = folder / name / "config.pbtxt"
        file.write_text(config_pbtxt.with_version(file.read_text(), version))
