"""The compiled `fraud-detection-end-to-end`, executed: real components and gate, stand-ins for the stages' own work.

The stages are proven elsewhere; here it is the graph: what is handed on, what the gate opens, what is not run.
"""

import json
import os
import time

import pytest

from local.kfp import EmbeddedKFP
from training.pipelines.definitions import END_TO_END, build
from training.pipelines.settings import PipelineSettings

pytestmark = pytest.mark.xdist_group("pipelines-end-to-end")

# Python runs a `sitecustomize` at the start of every process: the stage modules are there before a component asks.
STAND_INS = """
import sys
from types import ModuleType


def stage(module, **functions):
    made = ModuleType("training." + module)
    vars(made).update(functions)
    sys.modules["training." + module] = made


def write_manifest(run_id, model, launch_id, data_uri, output_uri):
    return data_uri + "manifest.json"


def preprocess(order):
    from training.outcome import Refused, StageResult

    if order.parameters.get("refuse"):
        raise Refused("nothing new")
    return StageResult({"dataset": "the-dataset", "profile": "the-profile"})


def train(order):
    from training.outcome import StageResult

    return StageResult({"model": "trained-on-" + order.inputs["dataset"]})


def evaluate(order):
    from training.outcome import StageResult

    assert order.inputs["model"] == "trained-on-the-dataset", order.inputs
    figures = {
        "format": 1, "rows": 100, "frauds": 50, "champion": None, "anchor": None, "drift": {}, "slices": [],
        "metrics": {"auc_roc": order.parameters["auc"], "average_precision": 0.5},
    }
    return StageResult({"evaluation": "the-evaluation"}, figures["metrics"], {"evaluation": figures})


def export(order):
    from training.outcome import StageResult

    return StageResult({"repository": "models/fraud/" + order.run_id + "-0123abcd"})


def deploy_unless_owned(order):
    from training.outcome import StageResult

    assert order.parameters == {"application": "triton-fraud", "version": "nightly-0123abcd"}, order.parameters
    return StageResult(details={"repository": order.inputs["repository"]})


stage("data.collection", write_manifest=write_manifest)
stage("data.preprocess", preprocess=preprocess)
stage("model.train", train=train)
stage("evaluation.evaluate", evaluate=evaluate)
stage("export.export", export=export)
stage("deployment.deploy", deploy_unless_owned=deploy_unless_owned)
"""


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    import yaml

    folder = tmp_path_factory.mktemp("pipelines")
    build(folder, PipelineSettings())
    documents = (folder / f"{END_TO_END}.yaml").read_text()
    return next(yaml.load_all(documents, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stand-ins")
    (folder / "sitecustomize.py").write_text(STAND_INS)
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    with EmbeddedKFP(tmp_path_factory.mktemp("kfp"), environment=environment, tick=0) as running:
        yield running


@pytest.fixture
def execute(server, spec, tmp_path):
    """Runs the pipeline to its end; gives the run, its steps by name, and the reports by stage."""

    def go(**parameters):
        arguments = {
            "data_uri": "data/",
            "output_uri": str(tmp_path),
            "run_id": "nightly",
            "deploy_parameters": {"application": "triton-fraud"},
            **parameters,
        }
        run_id = server.runs.create(
            {"display_name": "all", "pipeline_spec": spec, "runtime_config": {"parameters": arguments}}
        )["run_id"]
        until = time.monotonic() + 120
        while (run := server.runs.get(run_id))["state"] in {"PENDING", "RUNNING"}:
            assert time.monotonic() < until
            time.sleep(0.05)
        steps = {step["display_name"]: step["state"] for step in run["run_details"]["task_details"]}
        reports = {path.parts[-4]: json.loads(path.read_text()) for path in tmp_path.rglob("report.json")}
        return run, steps, reports, json.loads(next(tmp_path.rglob("end-to-end/*.json")).read_text())

    return go


def test_a_good_candidate_goes_all_the_way(execute, server):
    """Every step runs once, in order, and deploy gets the repository that export made."""
    run, steps, reports, end = execute(evaluate_parameters={"auc": 0.95}, gate={"min_auc_roc": 0.9})
    assert run["state"] == "SUCCEEDED", server.log_of(run["run_id"]).read_text()
    order = ["collect", "preprocess", "train", "evaluate", "judge", "export", "deploy-unless-owned", "conclude"]
    assert list(steps) == order
    assert reports["deploy"]["details"] == {"repository": "models/fraud/nightly-0123abcd"}
    assert len({report["launch_id"] for report in reports.values()}) == 1
    assert end["state"] == "SUCCEEDED"


def test_the_gate_stops_a_bad_candidate(execute):
    """Neither export nor deploy runs, and the run is no failure: it did what it is for."""
    run, steps, reports, end = execute(evaluate_parameters={"auc": 0.95}, gate={"min_auc_roc": 0.96})
    assert run["state"] == end["state"] == "SUCCEEDED"
    assert list(steps) == ["collect", "preprocess", "train", "evaluate", "judge", "conclude"]
    assert set(reports) == {"preprocess", "train", "evaluate"}


def test_without_new_data_nothing_is_trained(execute):
    """A refusal of preprocess ends the run early and well."""
    run, steps, _, end = execute(preprocess_parameters={"refuse": True})
    assert run["state"] == end["state"] == "SUCCEEDED"
    assert list(steps) == ["collect", "preprocess", "conclude"]


def test_the_exit_handler_sees_a_failure(execute):
    """A step that fails fails the run, and how it ended is on record all the same."""
    run, steps, reports, end = execute(evaluate_parameters={})  # the stand-in asks for a parameter
    assert run["state"] == end["state"] == "FAILED"
    assert steps["evaluate"] == "FAILED"
    assert reports["evaluate"]["outcome"] == "failed"
    assert "conclude" in steps
