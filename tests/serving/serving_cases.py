"""What the tests of serving share: a trained model, orders for its stages, and a damaged version."""

from dataclasses import dataclass
from pathlib import Path

import torch

from local.argocd import ArgoCD
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from training.graph.graph import TEST
from training.model.model import FraudModel
from training.outcome import StageResult
from training.serving.request_builder import RequestBuilder

BROKEN = "fraud-13-"  # versions of this run are damaged on their way to Triton


@dataclass(frozen=True)
class Trained:
    """A data set and a model of it, in folders, and what asks for its transactions."""

    dataset: Path
    folder: Path
    model: FraudModel
    builder: RequestBuilder

    @property
    def test(self) -> torch.Tensor:
        """The transactions that the model has not seen."""
        return self.builder.reader.graph.where(TEST)


@dataclass(frozen=True)
class Cluster:
    """The stand-in, and the report of the first deployment."""

    argocd: ArgoCD
    deployed: StageResult

    @property
    def address(self) -> str:
        """Where clients ask, `host:port`."""
        return self.argocd.service_url.removeprefix("http://")


def export_order(trained: Trained, bucket: Path, run_id: str = "fraud-1", attempt: int = 1) -> StageRequest:
    """The order to export the model into a local folder that replaces the bucket."""
    evaluation = bucket / "runs" / run_id / "evaluate" / "evaluation.json"
    evaluation.parent.mkdir(parents=True, exist_ok=True)
    evaluation.write_text('{"format": 1}')
    inputs = {
        "model": str(trained.folder),
        "dataset": str(trained.dataset),
        "evaluation": str(evaluation),
        "profile": str(trained.dataset / "profile.json"),
    }
    uri = f"{bucket}/runs/{run_id}/export/{attempt}/0123456789ab"
    return StageRequest(run_id, "fraud", Stage.EXPORT, attempt, "0123456789ab", uri, inputs)


def deploy_order(exported: StageResult, generation: int, stage: Stage = Stage.DEPLOY, attempt: int = 1) -> StageRequest:
    """The order to deploy or restore what was exported."""
    version = str(exported.details["version"])
    parameters = {
        "version": version,
        "generation": generation,
        "application": "triton-fraud",
        "application_namespace": "argocd",
        "namespace": "triton",
        "service": "triton-fraud-pods",
        "timeout_seconds": 120,
    }
    inputs = {"repository": exported.outputs["repository"]}
    run_id = version.rpartition("-")[0]
    return StageRequest(run_id, "fraud", stage, attempt, f"launch{attempt}", "/nowhere", inputs, parameters)


def halve_weights(repository: Path, version: str) -> None:
    """Damages the weights of a version of run 13, as a torn download would."""
    if version.startswith(BROKEN):
        weights = repository / "fraud_score" / "1" / "model" / "encoder.safetensors"
        weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
