"""The evaluation's plots: what each one shows, computed from labels and scores and drawn as inline SVG."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from training.evaluation import drawing
from training.evaluation.drawing import Axis, PlotLine

Labels = NDArray[np.int8]
Scores = NDArray[np.float32]
Curve = tuple[NDArray[np.float64], NDArray[np.float64]]
POINTS = 200
LEAST_RATE = 1e-5
BINS = 40


def precision_recall(labels: Labels, scores_by_model: Mapping[str, Scores]) -> str:
    """Plot precision over recall; the first model is the candidate."""

    def curve(scores: Scores) -> Curve:
        precision, recall, _ = precision_recall_curve(labels, scores)
        return recall, precision

    lines = _lines(scores_by_model, curve)
    return drawing.curves(lines, Axis("recall", 0, 1), Axis("precision", 0, 1), "Precision over recall, by model")


def roc(labels: Labels, scores_by_model: Mapping[str, Scores]) -> str:
    """Plot true over false positive rate, the latter on a logarithmic scale, because fraud teams work below 1 %."""

    def curve(scores: Scores) -> Curve:
        fpr, tpr, _ = roc_curve(labels, scores)
        return np.maximum(fpr, LEAST_RATE), tpr

    lines = _lines(scores_by_model, curve)
    across = Axis("false positive rate", LEAST_RATE, 1, log=True)
    return drawing.curves(lines, across, Axis("recall", 0, 1), "Recall over the false positive rate, by model")


def calibration(reliability: Sequence[Mapping[str, float]]) -> str:
    """Plot observed over predicted fraud rate in bins of equally many frauds, on logarithmic scales."""
    bins = [(bin["predicted"], bin["observed"]) for bin in reliability if bin["observed"] > 0 and bin["predicted"] > 0]
    both = [value for pair in bins for value in pair] or [0.01, 1.0]
    least, most = min(both), max(both)
    across, up = (Axis.over(name, [least, most], log=True) for name in ("predicted", "observed"))
    notes = [f"predicted {predicted:.2%}, observed {observed:.2%}" for predicted, observed in bins]
    lines = [
        PlotLine("candidate", bins, dots=True, notes=notes),
        PlotLine("as predicted", [(least, least), (most, most)], dashed=True),
    ]
    return drawing.curves(lines, across, up, "Observed over predicted share of fraud")


def histogram(labels: Labels, scores: Scores, threshold: float) -> str:
    """Plot the probabilities of frauds and others on logarithmic axes, with the threshold."""
    least = max(float(scores.min()), 1e-7)
    edges = np.geomspace(least, 1.0, BINS + 1) if least < 1 else np.array([0.5, 1.0])
    held = np.clip(scores, edges[0], edges[-1])
    counts = {
        "frauds": np.histogram(held[labels == 1], edges)[0].tolist(),
        "others": np.histogram(held[labels != 1], edges)[0].tolist(),
    }
    across = Axis("probability", float(edges[0]), 1.0, log=True)
    return drawing.histogram(edges.tolist(), counts, across, "Scores of frauds and of others", threshold)


def _lines(scores_by_model: Mapping[str, Scores], curve: Callable[[Scores], Curve]) -> list[PlotLine]:
    lines = []
    for name, scores in scores_by_model.items():
        x, y = (_thinned(values) for values in curve(scores))
        lines.append(PlotLine(name, list(zip(x.tolist(), y.tolist(), strict=True))))
    return lines


def _thinned(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return at most about twice `POINTS` of a curve's points, denser where frauds are; both ends are kept."""
    if len(values) <= POINTS:
        return values
    chosen = np.unique(np.r_[np.geomspace(1, len(values), POINTS).astype(int) - 1, len(values) - 1])
    kept: NDArray[np.float64] = values[np.unique(np.r_[chosen, len(values) - 1 - chosen])]
    return kept
