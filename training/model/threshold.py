"""The decision threshold, chosen on validation at natural prevalence by one of three rules."""

import numpy as np
from numpy.typing import NDArray

from training.model.config import TrainConfig


def choose(
    labels: NDArray[np.int8], scores: NDArray[np.float32], weights: NDArray[np.float64], config: TrainConfig
) -> float:
    """The score from which on a transaction is a fraud; `weights` [V] bring thinned rows to their natural number."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    frauds = np.cumsum(weights[order] * (labels[order] == 1))
    alarms = np.cumsum(weights[order] * (labels[order] != 1))
    last = np.append(ranked[1:] != ranked[:-1], True)  # equal scores are decided together
    ranked, frauds, alarms = ranked[last], frauds[last], alarms[last]
    utility = _RULES[config.threshold_rule](frauds, alarms, config)
    return float(ranked[int(np.argmax(utility))])


def _f1(frauds: NDArray[np.float64], alarms: NDArray[np.float64], config: TrainConfig) -> NDArray[np.float64]:
    f1: NDArray[np.float64] = 2 * frauds / (frauds + alarms + frauds[-1])
    return f1


def _within_budget(
    frauds: NDArray[np.float64], alarms: NDArray[np.float64], config: TrainConfig
) -> NDArray[np.float64]:
    """Recall where the false-positive rate is within `fpr_budget`; beyond it the fewest alarms win."""
    rate = alarms / max(alarms[-1], 1.0)
    return np.where(rate <= config.fpr_budget, frauds, -rate)


def _saved(frauds: NDArray[np.float64], alarms: NDArray[np.float64], config: TrainConfig) -> NDArray[np.float64]:
    return frauds * config.missed_fraud_cost - alarms * config.false_alarm_cost


_RULES = {"max_f1": _f1, "fpr_budget": _within_budget, "cost": _saved}
