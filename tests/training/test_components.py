"""Each component alone: parameters become an Order, one function is called, artifacts are filled for the UI."""

import json
import sys
from types import ModuleType
from typing import Any

import pytest

from statemachine.contracts.stage import Stage
from training.outcome import Permanent, Refused, StageResult
from training.pipelines import components
from training.runtime.launch import order_of, read_pointer


class FakeArtifact:
    """As much of a KFP artifact as components touch."""

    def __init__(self, path):
        self.path, self.metadata, self.logged, self.curve = str(path), {}, {}, ()

    def log_metric(self, name, value):
        self.logged[name] = value

    def log_roc_curve(self, *columns):
        self.curve = columns


# component → (module, function, artifacts it takes, artifacts it makes: the component's own name → the contract's)
STAGES = {
    "preprocess": ("training.data.preprocess", "preprocess", {}, {"dataset": "dataset", "profile": "profile"}),
    "train": ("training.model.train", "train", {"dataset": "dataset"}, {"trained": "model"}),
    "evaluate": (
        "training.evaluation.evaluate",
        "evaluate",
        {"dataset": "dataset", "trained": "model"},
        {"evaluation": "evaluation"},
    ),
    "export": (
        "training.export.export",
        "export",
        {"dataset": "dataset", "trained": "model", "evaluation": "evaluation", "profile": "profile"},
        {"repository": "repository"},
    ),
    "materialise": ("training.live.materialise", "materialise", {}, {}),
    "shadow": ("training.shadow.shadow", "shadow", {}, {}),
    "deploy": ("training.deployment.deploy", "deploy", {}, {}),
    "restore": ("training.deployment.deploy", "restore", {}, {}),
    "deploy_unless_owned": ("training.deployment.deploy", "deploy_unless_owned", {"repository": "repository"}, {}),
}


@pytest.fixture
def stand_in(monkeypatch):
    """Put a function where a component looks for its stage's work."""

    def put(module, function, work):
        made = ModuleType(module)
        setattr(made, function, work)
        monkeypatch.setitem(sys.modules, module, made)

    return put


def pointing(path, uri):
    path.write_text(json.dumps({"uri": uri, "sha256": "", "report": ""}))
    return FakeArtifact(path)


def order_with(tmp_path, **more):
    return {
        "run_id": "fraud-3",
        "model": "fraud",
        "attempt": 1,
        "launch_id": "abc",
        "output_uri": str(tmp_path / "out"),
        "inputs": {"manifest": "m", "champion": ""},
        "parameters": {"seed": 1},
        **more,
    }


@pytest.mark.parametrize("name", STAGES)
def test_a_component_parses_calls_one_function_and_is_done(name, stand_in, tmp_path):
    """The order has all parameters, artifacts become inputs, outputs become pointers."""
    module, function, given, made = STAGES[name]
    orders = []

    def work(order):
        orders.append(order)
        return StageResult({output: f"s3x/{output}" for output in made.values()}, {"figure": 1.5})

    stand_in(module, function, work)
    artifacts = {own: pointing(tmp_path / own, f"in/{contract}") for own, contract in given.items()}
    outputs = {own: FakeArtifact(tmp_path / f"{own}.out") for own in made}
    ui = {"metrics": FakeArtifact(tmp_path / "metrics")}
    if name == "evaluate":
        ui |= {"roc": FakeArtifact(tmp_path / "roc"), "page": FakeArtifact(tmp_path / "page.html")}
    outcome = getattr(components, name)(**order_with(tmp_path), **artifacts, **outputs, **ui)
    assert outcome == "ok"
    (order,) = orders
    assert order.stage is (Stage.DEPLOY if name == "deploy_unless_owned" else Stage(name))
    assert order.inputs == {"manifest": "m"} | {contract: f"in/{contract}" for contract in given.values()}
    assert order.parameters["seed"] == 1
    assert ui["metrics"].logged["figure"] == 1.5
    for own, contract in made.items():
        pointer = read_pointer(outputs[own])
        assert pointer["uri"] == outputs[own].metadata["uri"] == f"s3x/{contract}"
        assert pointer["report"] == str(tmp_path / "out" / "report.json")


def test_the_end_to_end_deploy_takes_the_version_from_the_repository(stand_in, tmp_path):
    """The last part of `models/<model>/<version>` is the version."""
    orders = []

    def work(order):
        orders.append(order)
        return StageResult()

    stand_in("training.deployment.deploy", "deploy_unless_owned", work)
    repository = pointing(tmp_path / "repository", "s3://artifacts/models/fraud/fraud-3-0123abcd/")
    components.deploy_unless_owned(
        **order_with(tmp_path), metrics=FakeArtifact(tmp_path / "metrics"), repository=repository
    )
    assert orders[0].parameters["version"] == "fraud-3-0123abcd"


def test_a_refusal_makes_no_pointers_and_ends_well(stand_in, tmp_path):
    """KFP sees a success whose outcome is `refused`; the next step must not find anything to work on."""

    def work(order):
        raise Refused("nothing new")

    stand_in("training.data.preprocess", "preprocess", work)
    artifacts: dict[str, Any] = {name: FakeArtifact(tmp_path / name) for name in ("dataset", "profile", "metrics")}
    assert components.preprocess(**order_with(tmp_path), **artifacts) == "refused"
    assert not (tmp_path / "dataset").exists()
    assert artifacts["metrics"].metadata["reason"] == "nothing new"


def test_work_that_did_not_make_its_outputs_has_failed(stand_in, tmp_path):
    """A report is never `ok` for a stage whose outputs are missing."""
    stand_in("training.model.train", "train", lambda order: StageResult())
    artifacts: dict[str, Any] = {name: FakeArtifact(tmp_path / name) for name in ("trained", "metrics")}
    with pytest.raises(Permanent, match="model"):
        components.train(**order_with(tmp_path), **artifacts)
    assert json.loads((tmp_path / "out" / "report.json").read_text())["outcome"] == "failed"


def test_a_stage_that_cannot_be_imported_says_so_in_its_report(monkeypatch, tmp_path):
    """The import follows `started.json`, so a broken image differs from a pod that never started."""
    monkeypatch.setitem(sys.modules, "training.model.train", None)
    artifacts: dict[str, Any] = {name: FakeArtifact(tmp_path / name) for name in ("trained", "metrics")}
    with pytest.raises(ImportError):
        components.train(**order_with(tmp_path), **artifacts)
    assert (tmp_path / "out" / "started.json").exists()
    assert "training.model.train" in json.loads((tmp_path / "out" / "report.json").read_text())["reason"]


def test_a_component_logs_json_lines(stand_in, tmp_path, capsys):
    """Every line on stdout is one JSON object that names the run, the stage and the launch."""
    stand_in("training.deployment.deploy", "deploy", lambda order: StageResult())
    components.deploy(**order_with(tmp_path), metrics=FakeArtifact(tmp_path / "metrics"))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["message"] for line in lines] == ["stage started", "stage finished"]
    assert {(line["run_id"], line["stage"], line["launch_id"]) for line in lines} == {("fraud-3", "deploy", "abc")}


def test_the_curve_and_the_page_of_an_evaluation_reach_the_ui(stand_in, tmp_path):
    """`roc` triples become KFP's three columns, `html` becomes the page."""
    work = StageResult({"evaluation": "e"}, html="<h1>good</h1>", roc=((0.0, 0.0, 1.0), (1.0, 1.0, 0.0)))
    stand_in("training.evaluation.evaluate", "evaluate", lambda order: work)
    names = ("evaluation", "metrics", "roc", "page")
    artifacts: dict[str, Any] = {name: FakeArtifact(tmp_path / name) for name in names}
    components.evaluate(**order_with(tmp_path), **artifacts)
    assert artifacts["roc"].curve == ([0.0, 1.0], [0.0, 1.0], [1.0, 0.0])
    assert (tmp_path / "page").read_text() == "<h1>good</h1>"


@pytest.mark.parametrize(("auc", "answer"), [(0.95, "pass"), (0.5, "reject")])
def test_the_pipelines_judge_is_the_controllers_gate(tmp_path, auc, answer):
    """It reads the evaluation in the report that the artifact points to."""
    evaluation = {
        "format": 1,
        "rows": 1000,
        "frauds": 50,
        "metrics": {"auc_roc": auc, "average_precision": 0.5},
        "champion": None,
        "anchor": None,
        "drift": {},
        "slices": [],
    }
    (tmp_path / "report.json").write_text(json.dumps({"details": {"evaluation": evaluation}}))
    artifact = FakeArtifact(tmp_path / "evaluation")
    (tmp_path / "evaluation").write_text(json.dumps({"uri": "e", "report": str(tmp_path / "report.json")}))
    verdict = FakeArtifact(tmp_path / "verdict")
    assert components.judge(artifact, {"min_auc_roc": 0.9}, verdict) == answer
    assert verdict.logged["auc_roc"] == auc


def test_a_root_gets_a_folder_for_each_launch(tmp_path):
    """An output URI that ends in a slash is a root, under which the contract's layout holds."""
    order = order_of("train", "nightly", "fraud", 1, "job", "s3://artifacts/", {}, {})
    assert order.output_uri == "s3://artifacts/runs/nightly/train/1/job"


def test_whole_numbers_arrive_as_integers():
    """The Order is the same whether Go (30) or Python (30.0) has written KFP's Struct, which knows no integers."""
    order = order_of("train", "r", "m", 1, "l", "o", {}, {"a": 30.0, "b": [{"c": 2.0}, 0.5, None, True]})
    assert repr(order.parameters) == repr({"a": 30, "b": [{"c": 2}, 0.5, None, True]})
