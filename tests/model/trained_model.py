"""What the tests of training and evaluation share."""

from dataclasses import dataclass
from pathlib import Path

from training.model.model import FraudModel


@dataclass(frozen=True)
class Trained:
    """A data set and a model of it, in folders."""

    dataset: Path
    folder: Path
    model: FraudModel
