"""The evaluation's plots as inline SVG, which loads no files and scales without loss."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

Labels = NDArray[np.int8]
Scores = NDArray[np.float32]
POINTS = 400
INK, MUTED, ACCENT = "#1f2933", "#9aa5b1", "#c2410c"
QUIET: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "font.size": 9,
    "svg.hashsalt": "fraudloop",
    "svg.fonttype": "none",
}


def precision_recall(labels: Labels, scores_by_model: Mapping[str, Scores]) -> str:
    """Plot precision over recall; the first of `everybody` is the candidate."""

    def curve(scores: Scores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        precision, recall, _ = precision_recall_curve(labels, scores)
        return recall, precision

    return _curves(scores_by_model, curve, "recall", "precision")


def roc(labels: Labels, scores_by_model: Mapping[str, Scores]) -> str:
    """Plot true over false positive rate, the latter on a logarithmic scale, because fraud teams work below 1 %."""

    def curve(scores: Scores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        fpr, tpr, _ = roc_curve(labels, scores)
        return np.maximum(fpr, 1e-5), tpr

    return _curves(scores_by_model, curve, "false positive rate", "recall", log=True)


def calibration(reliability: Sequence[Mapping[str, float]]) -> str:
    """Plot observed over predicted fraud rate in bins of equally many frauds, on logarithmic scales."""
    bins = [bin for bin in reliability if bin["observed"] > 0 and bin["predicted"] > 0]

    def draw(axes: Axes) -> None:
        predicted, observed = [bin["predicted"] for bin in bins], [bin["observed"] for bin in bins]
        span = [min(predicted + observed), max(predicted + observed)]
        axes.plot(span, span, color=MUTED, linewidth=1)
        axes.plot(predicted, observed, "o-", color=ACCENT)
        axes.set(xscale="log", yscale="log", xlabel="predicted", ylabel="observed")

    return svg(draw)


def histogram(labels: Labels, scores: Scores, threshold: float) -> str:
    """Plot the probabilities of frauds and others on logarithmic axes, with the threshold."""

    def draw(axes: Axes) -> None:
        edges = np.logspace(np.log10(max(float(scores.min()), 1e-7)), 0, 50).tolist()
        axes.hist(scores[labels != 1], edges, color=MUTED, label="others")
        axes.hist(scores[labels == 1], edges, color=ACCENT, alpha=0.8, label="frauds")
        axes.axvline(threshold, color=INK, linewidth=1, linestyle="--", label="threshold")
        axes.set(xscale="log", yscale="log", xlabel="probability", ylabel="transactions")
        axes.legend(frameon=False)

    return svg(draw)


def bars(values: Mapping[str, float], label: str) -> str:
    """Plot horizontal bars, the largest on top."""

    def draw(axes: Axes) -> None:
        ranked = sorted(values.items(), key=lambda item: item[1])
        axes.barh([name for name, _ in ranked], [value for _, value in ranked], color=ACCENT, height=0.6)
        axes.set(xlabel=label)

    return svg(draw, height=0.6 + 0.22 * max(len(values), 1))


def svg(draw: Callable[[Axes], None], width: float = 5.0, height: float = 3.4) -> str:
    """Return the result of `draw` as one SVG element; sizes in inches. Equal data give equal bytes."""
    with matplotlib.rc_context(QUIET):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.subplots())
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = out.getvalue()
    return re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)


def _curves(
    scores_by_model: Mapping[str, Scores],
    curve: Callable[[Scores], tuple[NDArray[np.float64], NDArray[np.float64]]],
    across: str,
    up: str,
    log: bool = False,
) -> str:
    def draw(axes: Axes) -> None:
        for number, (name, scores) in enumerate(scores_by_model.items()):
            x, y = (_thinned(values) for values in curve(scores))
            first = {"color": ACCENT, "linewidth": 2.0, "zorder": 3}
            axes.plot(x, y, label=name, **(first if number == 0 else {"linewidth": 1.0}))
        axes.set(xlabel=across, ylabel=up, ylim=(0, 1.02), **({"xscale": "log", "xlim": (1e-5, 1)} if log else {}))
        axes.legend(frameon=False, fontsize=8)

    return svg(draw)


def _thinned(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return at most about `POINTS` of a curve's points, denser where frauds are; both ends are kept."""
    if len(values) <= POINTS:
        return values
    chosen = np.unique(np.r_[np.geomspace(1, len(values), POINTS).astype(int) - 1, len(values) - 1])
    kept: NDArray[np.float64] = values[np.unique(np.r_[chosen, len(values) - 1 - chosen])]
    return kept
