"""The compiled pipelines: their structure, what must hold for every task, and that a build is repeatable.

`FRAUDLOOP_GOLDEN=write pytest …` writes the golden structure anew.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from statemachine.contracts.errors import Misconfigured
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from training.pipelines.definitions import END_TO_END, build, content_hash
from training.pipelines.settings import PipelineSettings, read_settings

pytestmark = pytest.mark.xdist_group("pipelines")

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "pipelines" / "structure.json"
NAMES = sorted([f"fraudloop-{stage.value}" for stage in Stage] + [END_TO_END])
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipelines")
    return folder, build(folder, read_settings({}, ROOT))


@pytest.fixture(scope="module")
def compiled(built):
    folder, definitions = built
    return {name: list(yaml.load_all((folder / f"{name}.yaml").read_text(), LOADER)) for name in definitions}


def dags(spec):
    yield "root", spec["root"]
    yield from ((name, part) for name, part in spec["components"].items() if "dag" in part)


def tasks(spec):
    for where, part in dags(spec):
        for name, task in part["dag"]["tasks"].items():
            yield f"{where}/{name}", task


def structure(documents):
    """What matters of a compiled pipeline: its parameters, the graph, and where each step runs."""
    spec, *platform = documents
    places = platform[0]["platforms"]["kubernetes"]["deploymentSpec"]["executors"] if platform else {}
    executors = spec["deploymentSpec"]["executors"]
    return {
        "parameters": spec["root"]["inputDefinitions"]["parameters"],
        "tasks": {
            where: {
                "component": task["componentRef"]["name"],
                "after": task.get("dependentTasks", []),
                "trigger": task.get("triggerPolicy", {}),
                "caching": task.get("cachingOptions"),
                "artifacts": task.get("inputs", {}).get("artifacts", {}),
            }
            for where, task in tasks(spec)
        },
        "pods": {
            name: {
                "image": executor["container"]["image"],
                "env": executor["container"].get("env", []),
                "resources": executor["container"].get("resources", {}),
                "place": places.get(name, {}),
            }
            for name, executor in executors.items()
        },
    }


def test_the_structure_is_the_golden_one(compiled):
    """Whoever changes a pipeline's graph, parameters or pods sees the change in a diff."""
    found = {name: structure(documents) for name, documents in sorted(compiled.items())}
    text = json.dumps(found, indent=1, sort_keys=True) + "\n"
    if os.environ.get("FRAUDLOOP_GOLDEN") == "write":
        GOLDEN.write_text(text)
    assert found == json.loads(GOLDEN.read_text())


def test_there_is_a_pipeline_for_every_stage_and_one_for_all(built):
    """The names are those that the controller looks for."""
    folder, definitions = built
    assert sorted(definitions) == NAMES
    assert json.loads((folder / "definitions.json").read_text()) == definitions
    assert definitions == {name: content_hash((folder / f"{name}.yaml").read_bytes()) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_no_task_is_ever_cached_or_retried_by_kfp(compiled, name):
    """Caching is on by default, and a retry inside of a launch would break `started.json` first, `report.json` last."""
    spec = compiled[name][0]
    executed = {
        where: task
        for where, task in tasks(spec)
        if "executorLabel" in spec["components"][task["componentRef"]["name"]]  # a sub-graph executes nothing itself
    }
    assert len(executed) == len(spec["deploymentSpec"]["executors"])
    for where, task in executed.items():
        assert task["cachingOptions"].get("enableCache", False) is False, where
        assert "retryPolicy" not in task, where


@pytest.mark.parametrize("stage", list(Stage))
def test_a_stage_pipeline_takes_exactly_the_arguments_of_an_order(compiled, stage):
    """The controller's CreateRun and the pipeline agree; none has a default, so a forgotten one is refused."""
    parameters = compiled[f"fraudloop-{stage.value}"][0]["root"]["inputDefinitions"]["parameters"]
    assert set(parameters) == set(StageRequest("r", "m", stage, 1, "l", "o").arguments())
    assert not any("defaultValue" in one for one in parameters.values())


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_installed_when_a_pod_starts(compiled, name):
    """The image holds all: a package index that is down must not stop a deployment."""
    for label, executor in compiled[name][0]["deploymentSpec"]["executors"].items():
        assert "pip install" not in str(executor["container"]["command"]), label


@pytest.mark.parametrize("name", NAMES)
def test_every_pod_has_requests_and_limits(compiled, name):
    """Without them Karpenter cannot choose a node, and one run could starve another."""
    for label, executor in compiled[name][0]["deploymentSpec"]["executors"].items():
        resources = executor["container"]["resources"]
        for which in ("resourceCpuRequest", "resourceCpuLimit", "resourceMemoryRequest", "resourceMemoryLimit"):
            assert resources[which], (label, which)


def test_only_training_gets_a_gpu_and_its_node(compiled):
    """A GPU costs by the second; evaluate, export and deploy do without."""
    for name, documents in compiled.items():
        for label, pod in structure(documents)["pods"].items():
            has_gpu = "accelerator" in pod["resources"]
            assert has_gpu == label.startswith("exec-train"), (name, label)
            assert bool(pod["place"].get("tolerations")) == has_gpu, (name, label)
            assert bool(pod["place"].get("nodeSelector")) == has_gpu, (name, label)


def test_the_gate_stands_between_evaluate_and_deploy(compiled):
    """In the end-to-end pipeline export and deploy are only in the branch that the gate opens."""
    spec = compiled[END_TO_END][0]
    parts = dict(dags(spec))
    behind = next(name for name, part in parts.items() if "export" in part["dag"]["tasks"])
    assert {"export", "deploy-unless-owned"} == set(parts[behind]["dag"]["tasks"])
    opener = [task for _, task in tasks(spec) if task["componentRef"]["name"] == behind]
    assert len(opener) == 1
    assert "judge-Output" in opener[0]["triggerPolicy"]["condition"]
    exits = [task for _, task in tasks(spec) if task.get("triggerPolicy", {}).get("strategy")]
    assert [task["componentRef"]["name"] for task in exits] == ["comp-conclude"]


def test_two_builds_are_equal_byte_for_byte(built, tmp_path):
    """Also under another hash seed: the content hash names a version, so equal content must have equal bytes."""
    folder, definitions = built
    environment = {**os.environ, "PYTHONHASHSEED": "4711"}
    environment.pop("FRAUDLOOP_IMAGE", None)
    command = [sys.executable, "-m", "training.pipelines.definitions", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    for name in [*(f"{one}.yaml" for one in definitions), "definitions.json"]:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def test_settings_reach_the_pod(tmp_path):
    """Image, resources, node and environment come from the settings, and a step inherits what it does not say."""
    settings = PipelineSettings.from_dict(
        {
            "code_version": "abc",
            "environment": {"FRAUDLOOP_EVENT_BUS": "loop"},
            "default": {"image": "registry/one:1", "cpu_request": "3"},
            "steps": {"deploy": {"node_selector": {"pool": "small"}, "cpu_limit": "4"}},
        }
    )
    build(tmp_path, settings)
    pod = structure(list(yaml.load_all((tmp_path / "fraudloop-deploy.yaml").read_text(), LOADER)))["pods"][
        "exec-deploy"
    ]
    assert pod["image"] == "registry/one:1"
    assert (pod["resources"]["resourceCpuRequest"], pod["resources"]["resourceCpuLimit"]) == ("3", "4")
    assert pod["place"]["nodeSelector"] == {"labels": {"pool": "small"}}
    environment = {"FRAUDLOOP_EVENT_BUS": "loop", "FRAUDLOOP_IMAGE": "registry/one:1", "FRAUDLOOP_CODE_VERSION": "abc"}
    assert environment.items() <= {one["name"]: one["value"] for one in pod["env"]}.items()


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({"step": {}}, "step"),
        ({"default": {"cpus": "1"}}, "cpus"),
        ({"steps": {"train": {"accelerators": 1}}}, "steps.train"),
        ({"steps": {"train": {"tolerations": [{"kee": "x"}]}}}, "kee"),
    ],
)
def test_a_wrong_setting_is_named(table, named):
    """A typo must not silently mean the default."""
    with pytest.raises(Misconfigured, match=named):
        PipelineSettings.from_dict(table)


def test_ci_can_say_the_image_without_a_file(tmp_path):
    """Image and code version are known only after the build; a missing file is named."""
    settings = read_settings({"FRAUDLOOP_IMAGE": "r/i:2", "FRAUDLOOP_CODE_VERSION": "def"}, ROOT)
    assert {settings.step(stage.value).image for stage in Stage if stage is not Stage.SHADOW} == {"r/i:2"}
    assert settings.code_version == "def"
    with pytest.raises(Misconfigured, match="nowhere"):
        read_settings({"FRAUDLOOP_PIPELINES": str(tmp_path / "nowhere.toml")})


def test_nested_conditions_need_a_server_that_ends_them(compiled):
    """Before 2.17.0 (upstream #13322) a branch inside of a branch stays RUNNING (#11979), also for the exit handler.

    The end-to-end pipeline has such a branch, so deploy/kfp must pin a server that has the fix.
    """

    def depth(spec, part):
        inner = [
            spec["components"][task["componentRef"]["name"]] for task in part.get("dag", {}).get("tasks", {}).values()
        ]
        return 1 + max((depth(spec, one) for one in inner if "dag" in one), default=0)

    nested = {name: depth(documents[0], documents[0]["root"]) for name, documents in compiled.items()}
    assert nested[END_TO_END] == 4  # the run, its exit handler's group, and two branches, one inside of the other
    assert {depth for name, depth in nested.items() if name != END_TO_END} == {1}
    upstream = yaml.safe_load((ROOT / "deploy/kfp/upstream/kustomization.yaml").read_text())["resources"]
    pinned = {tuple(int(part) for part in one.rpartition("?ref=")[2].split(".")) for one in upstream}
    assert len(pinned) == 1
    assert pinned.pop() >= (2, 17, 0)
