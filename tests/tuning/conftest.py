from datetime import date

import pytest

from training.model.config import TrainConfig
from training.pipelines.settings import read_settings


@pytest.fixture(scope="session")
def small():
    """A training that takes a few seconds: the embedding alone, so that what is searched matters."""
    return TrainConfig(
        epochs=1, head_rounds=10, head_max_bin=64, fan_out=4, k=4, groups=("embedding",), negative_ratio=3, threads=1
    )


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """20,000 synthetic rows of two years, preprocessed."""
    from training.data.preprocess import PreprocessConfig, prepare
    from training.synthetic.generator import generate

    folder = tmp_path_factory.mktemp("tuning")
    years = {"start": date(2018, 1, 1), "end": date(2019, 12, 31)}
    generate(20_000, 3, fraud_rate=0.01, **years).write_csv(folder / "raw.csv")
    return prepare([folder / "raw.csv"], folder / "dataset", PreprocessConfig(), today=date(2026, 1, 1)).folder


@pytest.fixture
def settings(request):
    """The committed pipelines.toml."""
    return read_settings({}, request.config.rootpath)
