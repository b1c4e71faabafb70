"""Metrics of a ranking, of a decision and of probabilities, at natural prevalence."""

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score, roc_curve

from training.graph.days import DAY as DAY

Labels = NDArray[np.int8]
Scores = NDArray[np.float32]
BUDGETS = (0.001, 0.005, 0.01)


def ranking(labels: Labels, scores: Scores, weights: NDArray[np.float64] | None = None) -> dict[str, float]:
    """AUC-ROC and average precision; `weights` bring thinned rows to their natural number."""
    return {
        "auc_roc": float(roc_auc_score(labels, scores, sample_weight=weights)),
        "average_precision": float(average_precision_score(labels, scores, sample_weight=weights)),
    }


def decision(labels: Labels, scores: Scores, threshold: float) -> dict[str, float]:
    """F1, precision, recall and accuracy of "fraud from `threshold` on"; what is undefined is 0."""
    alarm, fraud = scores >= np.float32(threshold), labels == 1
    hits, alarms, frauds = int((alarm & fraud).sum()), int(alarm.sum()), int(fraud.sum())
    return {
        "f1": 2 * hits / max(alarms + frauds, 1),
        "precision": hits / max(alarms, 1),
        "recall": hits / max(frauds, 1),
        "accuracy": float((alarm == fraud).mean()),
    }


def recall_within(labels: Labels, scores: Scores) -> dict[str, float]:
    """Recall at the false-positive rates of `BUDGETS`."""
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    return {
        f"recall_at_fpr_{budget:g}": float(tpr[np.searchsorted(fpr, budget, side="right") - 1]) for budget in BUDGETS
    }


def daily_alerts(labels: Labels, scores: Scores, times: NDArray[np.int64], alerts: int) -> dict[str, float]:
    """Precision and recall if an analyst looks at the `alerts` highest scores of each day only."""
    day = times // DAY
    order = np.lexsort((-scores, day))
    day, fraud = day[order], labels[order] == 1
    rank = np.arange(len(day)) - np.searchsorted(day, day)
    reviewed = rank < alerts
    hits = int((reviewed & fraud).sum())
    return {
        f"precision_top_{alerts}_a_day": hits / max(int(reviewed.sum()), 1),
        f"recall_top_{alerts}_a_day": hits / max(int(fraud.sum()), 1),
    }


def brier(labels: Labels, scores: Scores) -> float:
    """Mean squared error of the probabilities."""
    return float(brier_score_loss(labels, scores))


def reliability(labels: Labels, scores: Scores, bins: int = 10) -> list[dict[str, float]]:
    """Predicted and observed fraud rate in bins of equally many *frauds*: equally many rows would show zeros."""
    order = np.argsort(scores, kind="stable")
    ranked, fraud = scores[order].astype(np.float64), (labels[order] == 1).astype(np.int64)
    part = np.minimum(np.cumsum(fraud) * bins // max(int(fraud.sum()), 1), bins - 1)
    rows = np.bincount(part, minlength=bins)
    predicted, observed = np.bincount(part, ranked, bins), np.bincount(part, fraud, bins)
    return [
        {"predicted": predicted[b] / rows[b], "observed": observed[b] / rows[b], "rows": int(rows[b])}
        for b in range(bins)
        if rows[b]
    ]


def roc_points(labels: Labels, scores: Scores, points: int = 100) -> list[tuple[float, float, float]]:
    """At most `points` of the ROC curve as (false positive rate, true positive rate, threshold), for the KFP UI."""
    curve = np.stack(roc_curve(labels, scores), axis=1)
    curve[0, 2] = 1.0  # scikit-learn begins at infinity, which is not JSON
    chosen = np.unique(np.linspace(0, len(curve) - 1, min(points, len(curve))).round().astype(int))
    return [(float(fpr), float(tpr), float(threshold)) for fpr, tpr, threshold in curve[chosen]]
