"""A KFP task's container as KFP's driver and launcher build it from a compiled pipeline: command, input, limits,
output.

The executor's input is what upstream's launcher passes in place of `{{$}}`; artifacts are in a folder of the pod.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from image_build import ROOT

KFP = "/tmp/kfp"  # noqa: S108 — a folder in the pod
OUTPUT = "executor_output.json"


def executors(pipeline: str) -> dict[str, Any]:
    """Return the executors of a compiled pipeline by component, each with its component's outputs."""
    specification = next(yaml.safe_load_all((ROOT / f"build/pipelines/{pipeline}.yaml").read_text()))
    found = specification["deploymentSpec"]["executors"]
    components = {name.removeprefix("comp-"): part for name, part in specification["components"].items()}
    return {
        name: {**found[part["executorLabel"]], "outputs": part.get("outputDefinitions", {})}
        for name, part in components.items()
        if part.get("executorLabel") in found
    }


def command(executor: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    """Return the container's command with the executor's input for these parameter values."""
    outputs = executor["outputs"]
    task = {
        "inputs": {"parameterValues": dict(values)},
        "outputs": {
            "outputFile": f"{KFP}/{OUTPUT}",
            "parameters": {name: {"outputFile": f"{KFP}/{name}"} for name in outputs.get("parameters", {})},
            "artifacts": {name: _artifact(name, kind) for name, kind in outputs.get("artifacts", {}).items()},
        },
    }
    spec = executor["container"]
    return [json.dumps(task) if word == "{{$}}" else word for word in (*spec["command"], *spec["args"])]


def limits(container: Mapping[str, Any]) -> dict[str, str]:
    """Return the container's limits as in a pod."""
    spec = container["resources"]
    return {"memory": spec["resourceMemoryLimit"], "cpu": spec["resourceCpuLimit"]}


def output(tmp: Path) -> dict[str, Any]:
    """Return the executor's output; `tmp` is the folder that the pod has as /tmp."""
    found: dict[str, Any] = json.loads((tmp / Path(KFP).name / OUTPUT).read_text())
    return found


def _artifact(name: str, kind: Mapping[str, Any]) -> dict[str, Any]:
    spec = {"name": name, "uri": f"{KFP}/{name}.artifact", "metadata": {}, "type": kind["artifactType"]}
    return {"artifacts": [spec]}
