"""The boosted head: XGBoost on the feature groups, and the correction for the frauds' share among the seeds."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from training.model.config import TrainConfig

Floats = NDArray[np.float32]
DEPTHS = (4, 6)  # tried where the configuration leaves the depth to validation


@dataclass(frozen=True)
class Sample:
    """Rows of the head's inputs [S, D] with labels [S]: all frauds, and the share `keep` of the other transactions."""

    inputs: Floats
    labels: NDArray[np.int8]
    keep: float = 1.0

    def columns(self, chosen: Sequence[int]) -> "Sample":
        """The same rows with some of the inputs."""
        return replace(self, inputs=self.inputs[:, list(chosen)])

    def weights(self, keep: float = 1.0) -> NDArray[np.float64]:
        """Row weights [S] that make the other transactions count as if the share `keep` of them was there."""
        return np.where(self.labels == 1, 1.0, keep / self.keep)


def fit_head(train: Sample, validation: Sample, names: Sequence[str], config: TrainConfig) -> xgb.Booster:
    """A booster, stopped early by the validation log-loss at the prevalence of the training seeds; so is its depth
    chosen, if `head_max_depth` is 0.

    Under-sampling multiplies the odds of fraud by 1/keep. `prior_corrected` shifts the base margin by log(keep), so the
    probabilities hold at natural prevalence. Average precision is not used for early stopping: with a few dozen
    validation frauds it can peak by chance after two trees.
    """
    train_matrix = xgb.QuantileDMatrix(
        train.inputs,
        train.labels,
        feature_names=list(names),
        max_bin=config.head_max_bin,
        nthread=config.threads or None,
    )
    weights = validation.weights(train.keep)
    validation_matrix = xgb.DMatrix(validation.inputs, validation.labels, weight=weights, feature_names=list(names))
    boosters = [
        xgb.train(
            _settings(config) | {"max_depth": depth},
            train_matrix,
            num_boost_round=config.head_rounds,
            evals=[(validation_matrix, "validation")],
            early_stopping_rounds=config.head_patience,
            verbose_eval=False,
        )
        for depth in ((config.head_max_depth,) if config.head_max_depth else DEPTHS)
    ]
    booster = min(boosters, key=lambda one: one.best_score)
    return prior_corrected(booster[: booster.best_iteration + 1], train.keep)


def predict(booster: xgb.Booster, features: Floats) -> NDArray[np.float32]:
    """Fraud probabilities [B]."""
    return np.asarray(booster.inplace_predict(features, validate_features=False), dtype=np.float32)


def contributions(booster: xgb.Booster, features: Floats) -> NDArray[np.float32]:
    """Shapley values [B, D + 1] of the margin (log-odds), base value last; a row's sum is the margin."""
    matrix = xgb.DMatrix(features, feature_names=booster.feature_names)
    return np.asarray(booster.predict(matrix, pred_contribs=True), dtype=np.float32)


def importance(booster: xgb.Booster) -> dict[str, float]:
    """The total gain of each feature that some tree splits by."""
    return {str(name): float(np.sum(gain)) for name, gain in booster.get_score(importance_type="total_gain").items()}


def prior_corrected(booster: xgb.Booster, keep: float) -> xgb.Booster:
    """The same trees with a base margin shifted by log(keep): odds' = odds · keep."""
    document = json.loads(booster.save_raw("json"))
    parameters = document["learner"]["learner_model_param"]
    base = json.loads(parameters["base_score"])
    score = base[0] if isinstance(base, list) else base
    odds = score / (1 - score) * keep
    moved = odds / (1 + odds)
    parameters["base_score"] = f"[{moved:.9E}]" if isinstance(base, list) else f"{moved:.9E}"
    return load_booster(json.dumps(document).encode())


def load_booster(document: bytes) -> xgb.Booster:
    """The booster of an XGBoost JSON document."""
    booster = xgb.Booster()
    booster.load_model(bytearray(document))
    return booster


def use_threads(booster: xgb.Booster, count: int) -> None:
    """Lets the booster predict with so many threads."""
    booster.set_param({"nthread": count})


def _settings(config: TrainConfig) -> dict[str, object]:
    return {
        "objective": "binary:logistic",
        "eval_metric": "logloss",
        "tree_method": "hist",
        "learning_rate": config.head_learning_rate,
        "max_bin": config.head_max_bin,
        "min_child_weight": config.head_min_child_weight,
        "subsample": config.head_subsample,
        "colsample_bytree": config.head_colsample,
        "base_score": config.head_base_score,
        "seed": config.seed,
        "nthread": config.threads,
    }
