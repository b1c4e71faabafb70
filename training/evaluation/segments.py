"""The candidate beside the champion and the strongest baseline in each segment, on the same rows, with intervals."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from training.evaluation import bootstrap
from training.evaluation.row_slices import Rows
from training.model.metrics import Labels, Scores, ranking

MOST = 40  # segments on record, those with most frauds
LEAST_FRAUDS = 5  # below, an interval says nothing
DRAWS = 200


def beside(
    masks: Iterable[tuple[str, Rows]], labels: Labels, candidate: Scores, rivals: Mapping[str, Scores], seed: int
) -> list[dict[str, Any]]:
    """Return `evaluation["segments"]`: rows, frauds and the figures of all, those with most frauds first.

    `difference` is candidate − rival with its 90 % interval, paired by resampling the segment's rows.
    """
    counted = [(name, inside, int((labels[inside] == 1).sum())) for name, inside in masks]
    judged = [part for part in counted if LEAST_FRAUDS <= part[2] < int(part[1].sum())]
    ranked = sorted(judged, key=lambda part: -part[2])[:MOST]
    return [_segment(name, inside, labels, candidate, rivals, seed) for name, inside, _ in ranked]


def _segment(
    name: str, inside: Rows, labels: Labels, candidate: Scores, rivals: Mapping[str, Scores], seed: int
) -> dict[str, Any]:
    part, ours = labels[inside], candidate[inside]
    others = {rival: scores[inside] for rival, scores in rivals.items()}
    drawn = bootstrap.resample(part, [ours, *others.values()], DRAWS, seed)
    return {
        "name": name,
        "rows": len(part),
        "frauds": int((part == 1).sum()),
        **_short(ranking(part, ours)),
        "rivals": {
            rival: _short(ranking(part, scores)) | {"difference": _difference(drawn[0], other)}
            for (rival, scores), other in zip(others.items(), drawn[1:], strict=True)
        },
    }


def _difference(candidate: bootstrap.Resampled, other: bootstrap.Resampled) -> dict[str, dict[str, float]]:
    return {name: _short(gained) for name, gained in bootstrap.differences(candidate, other).items()}


def _short(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: float(np.round(value, 5)) for name, value in figures.items()}
