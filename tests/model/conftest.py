"""One small data set and one small model for all tests of training and evaluation."""

from datetime import date
from pathlib import Path

import pytest
from trained_model import Trained

from training.data.preprocess import PreprocessConfig, prepare
from training.model.checkpoint import StoredCheckpoints
from training.model.config import TrainConfig
from training.model.model import load
from training.model.train import train_model
from training.synthetic import generate

# Small, but everything happens: both folds, early stopping's bookkeeping, all feature groups.
SMALL = TrainConfig(
    k=8, fan_out=4, folds=2, epochs=2, hidden_dim=8, batch_size=128, negative_ratio=5, head_rounds=20, threads=1
)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20,000 synthetic transactions with 1 % fraud, preprocessed."""
    root = tmp_path_factory.mktemp("data")
    generate(20_000, 3, fraud_rate=0.01, start=date(2018, 1, 1)).write_csv(root / "transactions.csv")
    return prepare(
        [root / "transactions.csv"], root / "dataset", PreprocessConfig(k=SMALL.k), today=date(2026, 11, 24)
    ).folder


@pytest.fixture(scope="session")
def small() -> TrainConfig:
    """The settings of the small model."""
    return SMALL


@pytest.fixture(scope="session")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The small model."""
    root = tmp_path_factory.mktemp("trained")
    train_model(dataset, SMALL, StoredCheckpoints(str(root / "checkpoints")), lambda *_: None).save(root / "model")
    return Trained(dataset, root / "model", load(root / "model"))
