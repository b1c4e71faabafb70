"""The boosted head: XGBoost on the feature groups, and the correction for the frauds' share among the seeds."""

import json
from collections.abc import Sequence

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from training.model.config import TrainConfig

Floats = NDArray[np.float32]


def fit_head(
    train: tuple[Floats, NDArray[np.int8]],
    validation: tuple[Floats, NDArray[np.int8]],
    names: Sequence[str],
    config: TrainConfig,
    keep: float = 1.0,
) -> xgb.Booster:
    """A booster over features [S, D] and labels [S], stopped early by validation average precision.

    `keep` is the share of other transactions among the seeds: thinned seeds make frauds look likelier by 1/keep, so the
    margin's base moves down by as much, and probabilities are those of natural prevalence.
    """
    booster = xgb.train(
        _settings(config),
        _matrix(*train, names, config),
        num_boost_round=config.head_rounds,
        evals=[(_matrix(*validation, names, config, like=train), "validation")],
        early_stopping_rounds=config.head_patience,
        verbose_eval=False,
    )
    return rebased(booster[: booster.best_iteration + 1], keep)


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


def rebased(booster: xgb.Booster, keep: float) -> xgb.Booster:
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
        "eval_metric": "aucpr",
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


def _matrix(
    features: Floats,
    labels: NDArray[np.int8],
    names: Sequence[str],
    config: TrainConfig,
    like: tuple[Floats, NDArray[np.int8]] | None = None,
) -> xgb.DMatrix:
    if like is not None:
        return xgb.DMatrix(features, labels, feature_names=list(names))
    return xgb.QuantileDMatrix(features, labels, feature_names=list(names), max_bin=config.head_max_bin)
