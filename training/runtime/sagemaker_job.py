"""Runs the train stage inside a SageMaker training job: its hyperparameters become the order.

`launch` writes `started.json`, the model and `report.json` where the order says; SageMaker's own model archive stays
empty. Metrics are printed as `name=value`, which the job's metric definitions collect.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from statemachine.contracts.report import REPORT
from training import storage
from training.runtime.launch import launch, order_of

HYPERPARAMETERS = Path("/opt/ml/input/config/hyperparameters.json")
WORK = "training.model.train:train"


def arguments(hyperparameters: Mapping[str, str]) -> dict[str, Any]:
    """Parses the order's arguments from SageMaker's text values."""
    parsed = {name: json.loads(hyperparameters[name]) for name in ("attempt", "inputs", "parameters")}
    return {name: hyperparameters[name] for name in ("stage", "run_id", "model", "launch_id", "output_uri")} | parsed


def main(hyperparameters: Path = HYPERPARAMETERS, work: str = WORK) -> str:
    """Runs the stage and returns its outcome. A failure is raised, so that the job fails too."""
    order = order_of(**arguments(json.loads(hyperparameters.read_text())))
    outcome = launch(work, order)
    metrics = storage.read_json(storage.join(order.output_uri, REPORT))["metrics"]
    for name, value in sorted(metrics.items()):
        print(f"{name}={value}", flush=True)
    return outcome


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HYPERPARAMETERS)
