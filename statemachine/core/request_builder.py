"""Builds a stage's request: which earlier outputs it reads, and its settings."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from statemachine.contracts import paths
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from statemachine.core.proof import anchor, wanted_version
from statemachine.core.snapshot import Snapshot


def build_request(snapshot: Snapshot) -> StageRequest:
    """The request of the current attempt, without a launch id: each CreateRun draws a new one."""
    run, stage = snapshot.run, snapshot.run.stage
    assert stage is not None
    inputs = {name: uri for name, uri in INPUTS[stage](snapshot).items() if uri}
    return StageRequest(
        run_id=run.id,
        model=run.model,
        stage=stage,
        attempt=run.attempt,
        launch_id="",
        output_uri=paths.attempt_folder(snapshot.policy.root, run.id, stage, run.attempt),
        inputs=inputs,
        parameters={**run.parameters.get(stage.value, {}), **PARAMETERS[stage](snapshot)},
    )


def _champion(snapshot: Snapshot) -> str:
    champion = snapshot.observed.model.champion
    return champion.uri if champion else ""


def _version_uri(snapshot: Snapshot, version: str) -> str:
    release = snapshot.observed.model.release_of(version)
    return release.uri if release else paths.version_folder(snapshot.policy.root, snapshot.run.model, version)


def _compared_version(snapshot: Snapshot, version: str) -> str:
    return _version_uri(snapshot, version) if version else ""


def _preprocess(snapshot: Snapshot) -> dict[str, str]:
    return {"manifest": snapshot.run.manifest, "champion": _champion(snapshot)}


def _train(snapshot: Snapshot) -> dict[str, str]:
    return {"dataset": snapshot.run.output(Stage.PREPROCESS, "dataset")}


def _shadow(snapshot: Snapshot) -> dict[str, str]:
    return {
        "repository": snapshot.run.output(Stage.EXPORT, "repository"),
        "champion": _compared_version(snapshot, snapshot.run.champion),
    }


def _evaluate(snapshot: Snapshot) -> dict[str, str]:
    return {
        "dataset": snapshot.run.output(Stage.PREPROCESS, "dataset"),
        "model": snapshot.run.output(Stage.TRAIN, "model"),
        "champion": _compared_version(snapshot, snapshot.run.champion),
        "anchor": _compared_version(snapshot, anchor(snapshot)),
    }


def _export(snapshot: Snapshot) -> dict[str, str]:
    return {
        "dataset": snapshot.run.output(Stage.PREPROCESS, "dataset"),
        "profile": snapshot.run.output(Stage.PREPROCESS, "profile"),
        "model": snapshot.run.output(Stage.TRAIN, "model"),
        "evaluation": snapshot.run.output(Stage.EVALUATE, "evaluation"),
    }


def _release(snapshot: Snapshot) -> dict[str, str]:
    return {"repository": _version_uri(snapshot, wanted_version(snapshot))}


INPUTS: Mapping[Stage, Callable[[Snapshot], dict[str, str]]] = {
    Stage.PREPROCESS: _preprocess,
    Stage.MATERIALISE: _train,
    Stage.TRAIN: _train,
    Stage.EVALUATE: _evaluate,
    Stage.EXPORT: _export,
    Stage.SHADOW: _shadow,
    Stage.DEPLOY: _release,
    Stage.RESTORE: _release,
}


def _data(snapshot: Snapshot) -> dict[str, Any]:
    return {"strict": snapshot.policy.strict, **_history(snapshot)}


def _judging(snapshot: Snapshot) -> dict[str, Any]:
    return {"gate": {name: value for name, value in asdict(snapshot.policy.gate).items() if value is not None}}


def _deploying(snapshot: Snapshot) -> dict[str, Any]:
    """Exactly the files that were judged: the export's own manifest, by its digest."""
    exported = snapshot.run.outputs.get(Stage.EXPORT.value, {}).get("repository")
    return {**_releasing(snapshot), **({"manifest": exported.sha256} if exported and exported.sha256 else {})}


def _releasing(snapshot: Snapshot) -> dict[str, Any]:
    serving = snapshot.policy.serving
    return {
        "version": wanted_version(snapshot),
        "generation": snapshot.run.generation,
        "application": serving.application,
        "application_namespace": serving.application_namespace,
        "namespace": serving.namespace,
        "service": serving.service,
        "timeout_seconds": serving.timeout_seconds,
    }


def _history(snapshot: Snapshot) -> dict[str, Any]:
    """How many transactions of an entity train looks back at; data set and online store are made for as many."""
    train = snapshot.run.parameters.get(Stage.TRAIN.value, {})
    return {"k": train["k"]} if "k" in train else {}


def _shadowing(snapshot: Snapshot) -> dict[str, Any]:
    policy = snapshot.policy.shadow
    names = ("requests", "min_requests", "log_days", "tolerance")
    return {name: getattr(policy, name) for name in names}


PARAMETERS: Mapping[Stage, Callable[[Snapshot], dict[str, Any]]] = {
    Stage.PREPROCESS: _data,
    Stage.MATERIALISE: _history,
    Stage.TRAIN: lambda snapshot: {},
    Stage.EVALUATE: _judging,
    Stage.EXPORT: lambda snapshot: {},
    Stage.SHADOW: _shadowing,
    Stage.DEPLOY: _deploying,
    Stage.RESTORE: _releasing,
}
