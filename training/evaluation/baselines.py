"""The baselines: trained on the same seeds as the candidate and scored on the same rows.

Their features are fixed here: the row alone, with hand-made velocity, and with matured risk on top, which is the
strongest one. They are the head's own columns without the embedding, in the head's own XGBoost settings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import xgboost as xgb
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


@dataclass(frozen=True)
class TrainedBaseline:
    """A trained baseline, and which of the inputs of `GROUPS` are its own."""

    booster: xgb.Booster
    columns: list[int]

    def score(self, inputs: Floats) -> NDArray[np.float32]:
        """Return the probabilities [B] of rows with the features of `GROUPS`."""
        return head.predict(self.booster, inputs[:, self.columns])


def fitted(
    train: Sample, validation: Sample, row: Sequence[str], config: TrainConfig, sides: Sequence[str] = SIDES
) -> dict[str, TrainedBaseline]:
    """Return the baselines by name; all inputs contain the features of `GROUPS`."""
    everything = features.names(row, GROUPS, sides)
    found = {}
    for name, groups in BASELINES.items():
        chosen = features.names(row, groups, sides)
        columns = [everything.index(feature) for feature in chosen]
        settings = replace(config, groups=groups)
        booster = head.fit_head(train.columns(columns), validation.columns(columns), chosen, settings)
        found[name] = TrainedBaseline(booster, columns)
    return found
