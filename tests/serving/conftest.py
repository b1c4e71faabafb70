"""One small trained model for all tests of serving, and one stand-in cluster in which a real Triton serves it."""

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from serving_cases import Cluster, Trained, deploy_order, export_order, halve_weights

from local import triton
from local.argocd import ArgoCD, ArgoCDSettings
from training.data.preprocess import PreprocessConfig, prepare
from training.deployment.deploy import deploy
from training.export.export import export
from training.model.checkpoint import StoredCheckpoints
from training.model.config import TrainConfig
from training.model.model import load
from training.model.train import train_model
from training.outcome import StageResult
from training.serving.request_builder import RequestBuilder
from training.synthetic import generate


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A model of 20,000 synthetic transactions: too little to be good, enough to be wrong in every way."""
    root = tmp_path_factory.mktemp("trained")
    generate(20_000, 7, fraud_rate=0.01, start=date(2018, 1, 1)).write_csv(root / "transactions.csv")
    prepare([root / "transactions.csv"], root / "dataset", PreprocessConfig(), today=date(2026, 11, 24))
    config = TrainConfig(epochs=1, head_rounds=30, hidden_dim=8, k=12, fan_out=6)
    train_model(root / "dataset", config, StoredCheckpoints(str(root / "checkpoints")), lambda *_: None).save(
        root / "model"
    )
    model = load(root / "model")
    return Trained(root / "dataset", root / "model", model, RequestBuilder.of(root / "dataset", model))


@pytest.fixture(scope="session")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that replaces the artifacts bucket."""
    return tmp_path_factory.mktemp("bucket")


@pytest.fixture(scope="session")
def exported(trained: Trained, bucket: Path) -> StageResult:
    """The model's first version."""
    return export(export_order(trained, bucket))


@pytest.fixture(scope="session")
def cluster(exported: StageResult, bucket: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The first version, deployed by the deploy stage and served by a real Triton, at generation 1."""
    if missing := triton.missing_system_library():
        pytest.skip(missing)
    settings = ArgoCDSettings(f"{bucket}/models/fraud", spoil=halve_weights)
    with ArgoCD(tmp_path_factory.mktemp("argocd"), settings) as argocd:
        os.environ["KUBERNETES_API_URL"] = argocd.api_url
        try:
            yield Cluster(argocd, deploy(deploy_order(exported, 1)))
        finally:
            os.environ.pop("KUBERNETES_API_URL", None)  # a test's monkeypatch may have taken it off
