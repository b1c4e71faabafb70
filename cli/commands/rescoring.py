"""Two models scored anew on the test rows of one data set, by segment at each one's threshold, with paired intervals.

Only `compare --rescore` imports this: it brings torch.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training import storage
from training.data import schema
from training.evaluation import bootstrap, slices
from training.evaluation.reference_models import score_test
from training.graph.graph import TEST, load_graph
from training.model import metrics
from training.model.model import load

DRAWS, SEED = 1000, 1
DECIDED = ("precision", "recall", "f1")
Labels = NDArray[np.int8]
Scores = NDArray[np.float32]


def rescore(one: str, other: str, dataset: str) -> dict[str, Any]:
    """Metrics, paired differences (other − one: mean and one-sided 95 % bounds) and segments.

    `one` and `other` are model folders, `dataset` a preprocess stage's output; each a path or an `s3://` URI.
    """
    with tempfile.TemporaryDirectory(prefix="fraudloop-compare-") as scratch:
        data = storage.local(dataset, Path(scratch) / "dataset")
        models = [load(storage.local(uri, Path(scratch) / name)) for uri, name in ((one, "one"), (other, "other"))]
        scores = [score_test(model, data) for model in models]
        graph = load_graph(data, ())
        ids = graph.where(TEST).numpy()
        labels = graph.label[graph.where(TEST)].numpy()
        declared = schema.loads((data / "schema.json").read_bytes()).data
        masks = list(slices.masks(slices.rows(data, declared), graph, ids, declared))
    thresholds = [model.threshold for model in models]
    segments = [_segment(name, inside, labels, scores, thresholds) for name, inside in masks if inside.any()]
    return {
        "thresholds": thresholds,
        "metrics": _pairs(labels, scores, thresholds),
        "difference": differences(labels, scores, thresholds),
        "segments": segments,
    }


def differences(labels: Labels, scores: list[Scores], thresholds: list[float]) -> dict[str, Mapping[str, float]]:
    """Other − one for each metric over the same resamples of the rows; frauds and others are drawn separately."""
    drawn = bootstrap.resample(labels, scores, DRAWS, SEED)
    ranked = {
        name: bootstrap.difference(getattr(drawn[1], name), getattr(drawn[0], name))
        for name in ("average_precision", "auc_roc")
    }
    return ranked | _decided(labels, *(s >= np.float32(t) for s, t in zip(scores, thresholds, strict=True)))


def _decided(labels: Labels, one: NDArray[np.bool_], other: NDArray[np.bool_]) -> dict[str, Mapping[str, float]]:
    """A resample of the rows is one of four counts among the frauds and four among the others: who alarms."""
    rng, cells = np.random.default_rng(SEED), one * 2 + other
    counts = {}
    for fraud in (True, False):
        rows = np.bincount(cells[(labels == 1) == fraud], minlength=4)
        counts[fraud] = rng.multinomial(int(rows.sum()), rows / max(rows.sum(), 1), size=DRAWS)
    figures = [
        _figures(counts[True][:, alarms].sum(1), counts[False][:, alarms].sum(1), counts[True].sum(1))
        for alarms in ((2, 3), (1, 3))
    ]
    return {name: bootstrap.difference(figures[1][name], figures[0][name]) for name in DECIDED}


def _figures(hits: NDArray[Any], false: NDArray[Any], frauds: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    alarms = hits + false
    return {
        "precision": hits / np.maximum(alarms, 1),
        "recall": hits / np.maximum(frauds, 1),
        "f1": 2 * hits / np.maximum(alarms + frauds, 1),
    }


def _pairs(labels: Labels, scores: list[Scores], thresholds: list[float]) -> dict[str, list[float]]:
    measured = [
        metrics.ranking(labels, each)
        | metrics.decision(labels, each, threshold)
        | metrics.recall_within(labels, each)
        | {"brier": metrics.brier(labels, each)}
        for each, threshold in zip(scores, thresholds, strict=True)
    ]
    return {name: [each[name] for each in measured] for name in measured[0]}


def _segment(
    name: str, inside: NDArray[np.bool_], labels: Labels, scores: list[Scores], thresholds: list[float]
) -> dict[str, Any]:
    ranked = [slices.metrics(name, inside, labels, each) for each in scores]
    decided = [
        metrics.decision(labels[inside], each[inside], threshold)
        for each, threshold in zip(scores, thresholds, strict=True)
    ]
    ranking = {key: [each[key] for each in ranked] for key in ("rows", "frauds", "auc_roc", "average_precision")}
    return {"name": name, "same_rows": True} | ranking | {key: [each[key] for each in decided] for key in DECIDED}
