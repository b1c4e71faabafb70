"""What each stage is told: which earlier outputs it reads, and its settings."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from statemachine.core.case import Case
from statemachine.core.order import Order
from statemachine.core.proof import anchor, wanted_version
from statemachine.core.states import Stage


def order(case: Case) -> Order:
    """The order for the present attempt, without a launch id: that is drawn anew for every CreateRun."""
    run, stage = case.run, case.run.stage
    assert stage is not None
    inputs = {name: uri for name, uri in INPUTS[stage](case).items() if uri}
    return Order(
        run_id=run.id,
        model=run.model,
        stage=stage,
        attempt=run.attempt,
        launch_id="",
        output_uri=f"{case.policy.root}/runs/{run.id}/{stage.value}/{run.attempt}",
        inputs=inputs,
        parameters={**run.parameters.get(stage.value, {}), **PARAMETERS[stage](case)},
    )


def _champion(case: Case) -> str:
    champion = case.seen.model.champion
    return champion.uri if champion else ""


def _version_uri(case: Case, version: str) -> str:
    release = case.seen.model.release_of(version)
    return release.uri if release else f"{case.policy.root}/models/{case.run.model}/{version}"


def _rival(case: Case, version: str) -> str:
    return _version_uri(case, version) if version else ""


def _preprocess(case: Case) -> dict[str, str]:
    return {"manifest": case.run.manifest, "champion": _champion(case)}


def _train(case: Case) -> dict[str, str]:
    return {"dataset": case.run.output(Stage.PREPROCESS, "dataset")}


def _evaluate(case: Case) -> dict[str, str]:
    return {
        "dataset": case.run.output(Stage.PREPROCESS, "dataset"),
        "model": case.run.output(Stage.TRAIN, "model"),
        "champion": _rival(case, case.run.champion),
        "anchor": _rival(case, anchor(case)),
    }


def _export(case: Case) -> dict[str, str]:
    return {
        "dataset": case.run.output(Stage.PREPROCESS, "dataset"),
        "profile": case.run.output(Stage.PREPROCESS, "profile"),
        "model": case.run.output(Stage.TRAIN, "model"),
        "evaluation": case.run.output(Stage.EVALUATE, "evaluation"),
    }


def _release(case: Case) -> dict[str, str]:
    return {"repository": _version_uri(case, wanted_version(case))}


INPUTS: Mapping[Stage, Callable[[Case], dict[str, str]]] = {
    Stage.PREPROCESS: _preprocess,
    Stage.TRAIN: _train,
    Stage.EVALUATE: _evaluate,
    Stage.EXPORT: _export,
    Stage.DEPLOY: _release,
    Stage.RESTORE: _release,
}


def _data(case: Case) -> dict[str, Any]:
    return {"strict": case.policy.strict}


def _judging(case: Case) -> dict[str, Any]:
    return {"gate": {name: value for name, value in asdict(case.policy.gate).items() if value is not None}}


def _exporting(case: Case) -> dict[str, Any]:
    return {"models_root": f"{case.policy.root}/models"}


def _releasing(case: Case) -> dict[str, Any]:
    serving = case.policy.serving
    return {
        "version": wanted_version(case),
        "generation": case.run.generation,
        "application": serving.application,
        "application_namespace": serving.application_namespace,
        "namespace": serving.namespace,
        "service": serving.service,
        "timeout_seconds": serving.timeout_seconds,
    }


PARAMETERS: Mapping[Stage, Callable[[Case], dict[str, Any]]] = {
    Stage.PREPROCESS: _data,
    Stage.TRAIN: lambda case: {},
    Stage.EVALUATE: _judging,
    Stage.EXPORT: _exporting,
    Stage.DEPLOY: _releasing,
    Stage.RESTORE: _releasing,
}
