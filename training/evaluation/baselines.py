"""The baselines: trained on the same seeds as the candidate and scored on the same rows.

Their features are fixed here: the row alone, with hand-made velocity, and with matured risk on top, which is the
strongest one. They are the head's own columns without the embedding, in the head's own XGBoost settings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from training.graph.block import SIDES
from training.model import features, head
from training.model.config import TrainConfig
from training.model.head import Floats, Sample

BASELINES: Mapping[str, tuple[str, ...]] = {
    "xgboost_row": ("row",),
    "xgboost_velocity": ("row", "velocity"),
    "xgboost_velocity_risk": ("row", "velocity", "risk"),
}
GROUPS = ("row", "velocity", "risk")  # of the inputs of `scores`, in this order


def scores(
    train: Sample,
    validation: Sample,
    test: Floats,
    row: Sequence[str],
    config: TrainConfig,
    sides: Sequence[str] = SIDES,
) -> dict[str, NDArray[np.float32]]:
    """Return each baseline's probabilities [N] of the test rows; all inputs contain the features of `GROUPS`."""
    everything = features.names(row, GROUPS, sides)
    found = {}
    for name, groups in BASELINES.items():
        chosen = features.names(row, groups, sides)
        columns = [everything.index(feature) for feature in chosen]
        settings = replace(config, groups=groups)
        booster = head.fit_head(train.columns(columns), validation.columns(columns), chosen, settings)
        found[name] = head.predict(booster, test[:, columns])
    return found
