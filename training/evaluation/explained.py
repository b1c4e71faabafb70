"""Ten transactions of the test rows with the reasons for their scores: true alerts, false alarms, missed frauds.

No entity's column is shown: a transaction is named by its row in the data set, its time and its amount.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.graph.history import Reader
from training.model.metrics import Labels, Scores
from training.model.model import FraudModel
from training.model.reason_words import reasons

TRUE_ALERT, FALSE_ALARM, MISSED = "true alert", "false alarm", "missed fraud"
WANTED = {TRUE_ALERT: 4, FALSE_ALARM: 3, MISSED: 3}

Ids = NDArray[np.int64]


def explained(
    model: FraudModel, reader: Reader, ids: Ids, labels: Labels, scores: Scores, amounts: NDArray[np.float64]
) -> list[dict[str, Any]]:
    """Return `evaluation["explained"]`. `ids` [N] are rows of the data set, the others are of the same rows."""
    picked = chosen(labels, scores, amounts, model.threshold)
    if not picked:
        return []
    places = np.array([place for _, place in picked])
    block = reader.block(torch.from_numpy(ids[places]))
    inputs, worth = model.head_inputs(block), model.explain(block)[:, :-1]
    return [
        {
            "kind": kind,
            "row": int(ids[place]),
            "time": int(reader.graph.time[int(ids[place])]),
            "amount": round(float(amounts[place]), 2),
            "score": float(f"{scores[place]:.4g}"),
            "reasons": _reasons(model.inputs, worth[at], inputs[at]),
        }
        for at, (kind, place) in enumerate(picked)
    ]


def chosen(labels: Labels, scores: Scores, amounts: NDArray[np.float64], threshold: float) -> list[tuple[str, int]]:
    """Kinds and places: the highest scores of true and of false alerts, and the largest amounts of missed frauds."""
    alarm, fraud = scores >= np.float32(threshold), labels == 1
    parts: dict[str, tuple[NDArray[np.bool_], NDArray[Any]]] = {
        TRUE_ALERT: (alarm & fraud, scores),
        FALSE_ALARM: (alarm & ~fraud, scores),
        MISSED: (~alarm & fraud, amounts),
    }
    return [
        (kind, int(place))
        for kind, (inside, by) in parts.items()
        for place in _largest(np.flatnonzero(inside), by, WANTED[kind])
    ]


def _largest(places: NDArray[np.intp], by: NDArray[Any], count: int) -> NDArray[np.intp]:
    order: NDArray[np.intp] = places[np.argsort(-by[places], kind="stable")][:count]
    return order


def _reasons(names: tuple[str, ...], worth: NDArray[np.float32], values: NDArray[np.float32]) -> list[dict[str, Any]]:
    by_name = {name: float(value) for name, value in zip(names, worth, strict=True)}
    of_row = {name: float(value) for name, value in zip(names, values, strict=True)}
    return [{"words": text, "worth": round(value, 3)} for text, value in reasons(by_name, of_row)]
