"""Builds the Katib Experiment (v1beta1): the train stage's trainer, settings and pod, over the search space."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.model.config import TrainConfig
from training.pipelines.settings import PipelineSettings, StepSettings
from training.tuning.space import OBJECTIVE, OTHER_METRICS, SPACE, Dimension

GROUP, VERSION, PLURAL = "kubeflow.org", "v1beta1", "experiments"
CONTAINER = "trial"
# Katib has no algorithm `bayesian`; its `bayesianoptimization` ignores `step`, which hidden_dim needs; tpe supports it.
ALGORITHM = "tpe"


@dataclass(frozen=True)
class Budget:
    """The limits of a search. An objective of `goal` ends it early."""

    parallel: int = 3
    trials: int = 15
    failed: int = 3
    goal: float | None = 0.995


@dataclass(frozen=True)
class TrialPlacement:
    """The namespace of the trials, and the service account with the pipeline's IAM role."""

    namespace: str = "kubeflow"
    service_account: str = "fraudloop-stage"


def experiment(
    name: str,
    dataset: str,
    config: TrainConfig,
    settings: PipelineSettings,
    *,
    placement: TrialPlacement = TrialPlacement(),
    budget: Budget = Budget(),
    algorithm: str = ALGORITHM,
    space: Sequence[Dimension] = SPACE,
) -> dict[str, Any]:
    """Return the manifest. `dataset` is a preprocess stage's output. Settings outside the space come from `config`."""
    objective: dict[str, Any] = {
        "type": "maximize",
        "objectiveMetricName": OBJECTIVE,
        "additionalMetricNames": list(OTHER_METRICS),
    }
    if budget.goal is not None:
        objective["goal"] = budget.goal
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "Experiment",
        "metadata": {
            "name": name,
            "namespace": placement.namespace,
            "labels": {"app.kubernetes.io/part-of": "fraudloop"},
        },
        "spec": {
            "objective": objective,
            "algorithm": {"algorithmName": algorithm, "algorithmSettings": _settings(algorithm, config.seed)},
            "parallelTrialCount": budget.parallel,
            "maxTrialCount": budget.trials,
            "maxFailedTrialCount": budget.failed,
            "resumePolicy": "Never",
            "parameters": [dimension.as_katib() for dimension in space],
            "metricsCollectorSpec": {"collector": {"kind": "StdOut"}},
            "trialTemplate": _template(dataset, config, settings, placement, space),
        },
    }


def _settings(algorithm: str, seed: int) -> list[dict[str, str]]:
    return [{"name": "random_state", "value": str(seed)}] if algorithm in ("tpe", "bayesianoptimization") else []


def _template(
    dataset: str, config: TrainConfig, settings: PipelineSettings, placement: TrialPlacement, space: Sequence[Dimension]
) -> dict[str, Any]:
    searched = [dimension.name for dimension in space]
    parameters = [{"name": name, "reference": name, "description": f"TrainConfig.{name}"} for name in searched]
    fixed = {name: value for name, value in config.as_dict().items() if name not in searched}
    arguments = [f"--dataset={dataset}", f"--settings={json.dumps(fixed, sort_keys=True)}"]
    arguments += [f"--set={name}=${{trialParameters.{name}}}" for name in searched]
    return {
        "primaryContainerName": CONTAINER,
        "retain": False,
        "trialParameters": parameters,
        "trialSpec": {"apiVersion": "batch/v1", "kind": "Job", "spec": _job(arguments, settings, placement)},
    }


def _job(arguments: list[str], settings: PipelineSettings, placement: TrialPlacement) -> dict[str, Any]:
    step = settings.step("train")
    pod: dict[str, Any] = {
        "serviceAccountName": placement.service_account,
        "restartPolicy": "Never",
        "containers": [_container(arguments, step, settings)],
    }
    if step.node_selector:
        pod["nodeSelector"] = dict(step.node_selector)
    if step.tolerations:
        pod["tolerations"] = [
            {key: value for key, value in vars(toleration).items() if value} for toleration in step.tolerations
        ]
    # A sidecar would prevent the Job from completing.
    metadata = {"annotations": {"sidecar.istio.io/inject": "false"}}
    return {"backoffLimit": 0, "template": {"metadata": metadata, "spec": pod}}


def _container(arguments: list[str], step: StepSettings, settings: PipelineSettings) -> dict[str, Any]:
    limits = {"cpu": step.cpu_limit, "memory": step.memory_limit}
    if step.accelerators:
        limits[step.accelerator] = str(step.accelerators)
    return {
        "name": CONTAINER,
        "image": step.image,
        "command": ["python", "-m", "training.tuning.trial"],
        "args": arguments,
        "env": [{"name": name, "value": value} for name, value in settings.environment.items()],
        "resources": {"requests": {"cpu": step.cpu_request, "memory": step.memory_request}, "limits": limits},
    }
