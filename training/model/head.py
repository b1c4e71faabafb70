"""The boosted head: XGBoost on the feature groups, and the correction for the frauds' share among the seeds."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from training.model.config import TrainConfig

Floats = NDArray[np.float32]


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
        """What each row counts for [S], so that of the others the share `keep` seems to be there."""
        return np.where(self.labels == 1, 1.0, keep / self.keep)


def fit_head(train: Sample, validation: Sample, names: Sequence[str], config: TrainConfig) -> xgb.Booster:
    """A booster, stopped early by the validation loss at the prevalence that it trains with.

    Thinned seeds make frauds look likelier by 1/keep; so at the end the margin's base moves down by as much, and
    probabilities are those of natural prevalence. Average precision is no rule to stop by: with a few dozen
    validation frauds it may be at its best, by chance, after two trees.
    """
    taught = xgb.QuantileDMatrix(
        train.inputs,
        train.labels,
        feature_names=list(names),
        max_bin=config.head_max_bin,
        nthread=config.threads or None,
    )
    weights = validation.weights(train.keep)
    checked = xgb.DMatrix(validation.inputs, validation.labels, weight=weights, feature_names=list(names))
    booster = xgb.train(
        _settings(config),
        taught,
        num_boost_round=config.head_rounds,
        evals=[(checked, "validation")],
        early_stopping_rounds=config.head_patience,
        verbose_eval=False,
    )
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
    """The same trees on a base margin that is log(keep) lower."""
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


def _settings(config: TrainConfig) -> dict[str, object]:
    return {
        "objective": "binary:logistic",
        "eval_metric": "logloss",
        "tree_method": "hist",
        "learning_rate": config.head_learning_rate,
        "max_depth": config.head_max_depth,
        "max_bin": config.head_max_bin,
        "min_child_weight": config.head_min_child_weight,
        "subsample": config.head_subsample,
        "colsample_bytree": config.head_colsample,
        "base_score": config.head_base_score,
        "seed": config.seed,
        "nthread": config.threads,
    }
