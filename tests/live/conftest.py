"""A real valkey-server for each test that asks for one, and one small trained model for all of them."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from live_cases import Replayed, Server

from training.data.preprocess import PreprocessConfig, prepare
from training.model.checkpoint import StoredCheckpoints
from training.model.config import TrainConfig
from training.model.model import load
from training.model.train import train_model
from training.ports import free_port
from training.synthetic import generate


@pytest.fixture(scope="session")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Replayed:
    """A model of 16,000 synthetic transactions, with its data set."""
    root = tmp_path_factory.mktemp("live")
    generate(16_000, 11, fraud_rate=0.02, start=date(2018, 1, 1), end=date(2018, 6, 30)).write_csv(
        root / "transactions.csv"
    )
    prepare([root / "transactions.csv"], root / "dataset", PreprocessConfig(), today=date(2026, 11, 24))
    config = TrainConfig(epochs=1, head_rounds=30, hidden_dim=8, k=8, fan_out=4)
    model = train_model(root / "dataset", config, StoredCheckpoints(str(root / "checkpoints")), lambda *_: None)
    model.save(root / "model")
    return Replayed(root / "dataset", load(root / "model"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of its own, empty, with its data in a folder."""
    running = Server(free_port(), data_dir=tmp_path / "valkey", appendonly="yes", appendfsync="everysec")
    running.start()
    yield running
    if running.is_running():
        running.stop()
