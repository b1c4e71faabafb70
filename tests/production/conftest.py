import json
import time
from dataclasses import replace
from itertools import pairwise

import pytest
import typer
from typer.testing import CliRunner

from cli.commands import cost, schedule, slo
from cli.migration import baseline, parity, sagemaker
from statemachine.contracts.report import Artifact
from statemachine.core.reason import TransitionReason
from statemachine.core.run import Run, Transition
from statemachine.core.states import State

DATA = "d" * 64
PATH = ("QUEUED", "PREPROCESSING", "TRAINING", "EVALUATING", "EXPORTING", "DEPLOYING", "SUCCEEDED")
TOOK = {"preprocess": 600.0, "train": 5400.0, "evaluate": 600.0, "export": 180.0, "deploy": 240.0}


@pytest.fixture
def fraudloop(monkeypatch):
    """Runs a command of the production panel; gives its result."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    app = typer.Typer()
    for group in (baseline, cost, parity, sagemaker, schedule, slo):
        group.register(app)
    return lambda *arguments, **more: CliRunner().invoke(app, list(arguments), **more)


def played(system, number, *, path=PATH, ended=0.0, metrics=None, parameters=None, kfp_id="kfp"):
    """Write a run that went through `path` and ended `ended` seconds ago; its stages took `TOOK`."""
    store, run_id = system.store, f"fraud-{number}"
    begun = time.time() - ended - sum(TOOK.values())
    run = Run(run_id, "fraud", number, State[path[0]], version=1, created_at=begun, entered_at=begun, due_at=begun)
    run = replace(run, parameters=parameters or {})
    store.begin(
        run,
        replace(store.model("fraud"), training=run_id),
        Transition(run_id, 1, begun, "", path[0], TransitionReason.ARRIVAL),
    )
    at = begun
    for version, (source, dest) in enumerate(pairwise(path), 2):
        stage = State[source].stage
        seconds = TOOK[stage.value] if stage else 0.0
        at += seconds
        seconds_of_pod = {f"pod_seconds.{stage.value}": seconds} if stage else {}
        entry = Transition(run_id, version, at, source, dest, TransitionReason.REPORTED, attempt=1,
                           kfp_id=kfp_id if stage else "", details={"metrics": seconds_of_pod})  # fmt: skip
        outputs = {**run.outputs, stage.value: _outputs(system, run_id)} if stage else run.outputs
        run = replace(run, state=State[dest], version=version, entered_at=at, outputs=outputs,
                      metrics={**run.metrics, **seconds_of_pod, **(metrics or {})})  # fmt: skip
        before = store.model("fraud")
        store.move(run, replace(before, training="") if run.state.terminal else before, before, entry)
    return run


def _outputs(system, run_id):
    return {"dataset": Artifact(f"s3://{system.settings.artifacts_bucket}/runs/{run_id}/dataset")}


@pytest.fixture
def ran(system):
    """`ran(7, metrics={…})`: a run that has ended, with a data set in S3."""

    def make(number, **fields):
        run = played(system, number, **fields)
        uri = run.outputs.get("preprocess", {}).get("dataset")
        if uri:
            system.files.write(f"{uri.uri}/dataset.json", json.dumps({"data_sha256": DATA}).encode())
        return run

    return make
