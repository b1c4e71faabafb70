"""Versions to serve in benchmarks, and the models that are served beside them: nothing at all, and the former path."""

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from shutil import copyfile, copytree

from benchmarks import empty_model, former_model
from training.data.preprocess import PreprocessConfig, prepare
from training.export.export import build
from training.model.checkpoint import StoredCheckpoints
from training.model.config import TrainConfig
from training.model.model import FraudModel, load
from training.model.train import train_model
from training.serving.request_builder import RequestBuilder
from training.synthetic import generate

SEED = 5
EMPTY, FORMER = "empty", "former"


@dataclass(frozen=True)
class Version:
    """An exported version in a folder, with the data set that it was trained on."""

    dataset: Path
    folder: Path

    @property
    def repository(self) -> Path:
        """What Triton loads."""
        return self.folder / "version" / "repository"

    @property
    def model(self) -> FraudModel:
        """The model as trained."""
        return load(self.folder / "model")

    def builder(self) -> RequestBuilder:
        """What asks for its transactions."""
        return RequestBuilder.of(self.dataset, self.model)


def dataset(folder: Path, rows: int) -> Path:
    """A data set of synthetic transactions."""
    generate(rows, SEED, fraud_rate=0.005, start=date(2016, 1, 1)).write_csv(folder / "transactions.csv")
    prepare([folder / "transactions.csv"], folder / "dataset", PreprocessConfig(), today=date(2026, 1, 1))
    return folder / "dataset"


def version(made: Path, folder: Path, config: TrainConfig) -> Version:
    """A model of the data set `made`, trained and exported into `folder`."""
    checkpoints = StoredCheckpoints(str(folder / "checkpoints"))
    train_model(made, config, checkpoints, lambda *_: None).save(folder / "model")
    build(folder / "version", folder / "model", made, "bench-1", "bench")
    return Version(made, folder)


def add_empty(repository: Path) -> None:
    """Beside `fraud_live` a model with its inputs and outputs that does nothing."""
    _copied(repository, "fraud_live", EMPTY, empty_model.__file__, {})


def add_former(repository: Path) -> None:
    """Beside `fraud_score` the same model as it was served before: by DataFrames and torch."""
    _copied(
        repository,
        "fraud_score",
        FORMER,
        former_model.__file__,
        {"version": str((repository / "fraud_score" / "1").resolve())},
    )


def _copied(repository: Path, name: str, peer: str, code: str, parameters: dict[str, str]) -> None:
    (repository / peer / "1").mkdir(parents=True)
    copyfile(code, repository / peer / "1" / "model.py")
    copytree(repository / name / "warmup", repository / peer / "warmup")
    config = (repository / name / "config.pbtxt").read_text().replace(f'name: "{name}"', f'name: "{peer}"', 1)
    told = "".join(
        f"parameters: {{ key: {json.dumps(key)} value: {{ string_value: {json.dumps(value)} }} }}\n"
        for key, value in parameters.items()
    )
    (repository / peer / "config.pbtxt").write_text(config + told)
