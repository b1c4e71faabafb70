"""The Experiment: what Katib's webhook takes, from the same config and pod as the train stage; and what it refuses."""

import copy
import json

import pytest

from statemachine.contracts.errors import Misconfigured
from training.model.config import TrainConfig
from training.tuning.experiment import Budget, TrialPlacement, experiment
from training.tuning.katib_validation import admit, refusals
from training.tuning.space import OBJECTIVE, SPACE

CONFIG = TrainConfig(seed=7, epochs=5)


@pytest.fixture
def manifest(settings):
    return experiment("fraud-tune-1", "s3://artifacts/runs/fraud-1/preprocess/1/abc/dataset", CONFIG, settings)


def trial(manifest):
    return manifest["spec"]["trialTemplate"]["trialSpec"]["spec"]["template"]["spec"]


def test_the_plan_s_search(manifest):
    """Learning rate, hidden dim and dropout; 15 trials, 3 at a time, 3 may fail; validation AUC is maximised."""
    spec = manifest["spec"]
    assert [p["name"] for p in spec["parameters"]] == ["learning_rate", "hidden_dim", "dropout"]
    assert spec["parameters"][1]["feasibleSpace"] == {"min": "64", "max": "256", "step": "32"}
    assert (spec["parallelTrialCount"], spec["maxTrialCount"], spec["maxFailedTrialCount"]) == (3, 15, 3)
    assert spec["objective"]["type"] == "maximize"
    assert spec["objective"]["objectiveMetricName"] == "val_auc_roc"
    assert "test" not in json.dumps(spec["objective"])


def test_a_trial_is_the_train_stage_s_pod(manifest, settings):
    """Same image, GPU, tolerations, nodes and resources; the pipeline's own service account, and so its IRSA role."""
    pod, step = trial(manifest), settings.step("train")
    [container] = pod["containers"]
    assert container["image"] == step.image
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert pod["nodeSelector"] == dict(step.node_selector)
    assert pod["serviceAccountName"] == "fraudloop-stage"
    assert pod["restartPolicy"] == "Never"


def test_what_is_not_searched_is_the_frozen_config(manifest):
    """Settings and placeholders together are exactly one TrainConfig."""
    [container] = trial(manifest)["containers"]
    [fixed] = [json.loads(a.removeprefix("--settings=")) for a in container["args"] if a.startswith("--settings=")]
    searched = {a.split("=")[1] for a in container["args"] if a.startswith("--set=")}
    assert searched == {dimension.name for dimension in SPACE}
    assert set(fixed) | searched == set(CONFIG.as_dict())
    assert TrainConfig.from_dict(fixed | {"learning_rate": "0.001", "hidden_dim": "96", "dropout": "0.3"}).epochs == 5


def test_katib_takes_it(manifest):
    """Nothing that the webhook checks is wrong."""
    assert list(refusals(manifest)) == []
    admit(manifest)


def changed(manifest, path, value):
    """A copy with one thing changed; `None` takes it away."""
    broken = copy.deepcopy(manifest)
    *way, last = path
    inner = broken
    for part in way:
        inner = inner[part]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return broken


S, T = "spec", ("spec", "trialTemplate")


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("metadata", "name"), "Fraud", "metadata.name 'Fraud'"),
        (("metadata", "name"), "f" * 41, "at most 40 characters"),
        ((S, "algorithm", "algorithmName"), "bayesian", "Katib calls it bayesianoptimization"),
        ((S, "algorithm", "algorithmName"), "bayesianoptimization", "hidden_dim: bayesianoptimization ignores step"),
        ((S, "algorithm", "algorithmName"), "bayesianoptimization", "dropout: a logarithmic range begins above 0"),
        ((S, "parallelTrialCount"), 0, "parallelTrialCount 0 must be greater"),
        ((S, "parallelTrialCount"), 20, "parallelTrialCount 20 is more than maxTrialCount 15"),
        ((S, "maxTrialCount"), -1, "maxTrialCount -1 must be greater"),
        ((S, "maxFailedTrialCount"), 16, "maxFailedTrialCount 16 is more"),
        ((S, "maxFailedTrialCount"), -1, "must not be less than 0"),
        ((S, "objective"), None, "objective is missing"),
        ((S, "objective", "type"), "max", "must be maximize or minimize"),
        ((S, "objective", "objectiveMetricName"), "", "objectiveMetricName is missing"),
        ((S, "objective", "additionalMetricNames"), [OBJECTIVE], "repeats val_auc_roc"),
        ((S, "parameters"), [], "parameters is empty"),
        ((S, "parameters", 0, "parameterType"), "float", "must be double, int, categorical or discrete"),
        ((S, "parameters", 0, "feasibleSpace"), {}, "feasibleSpace is missing"),
        ((S, "parameters", 0, "feasibleSpace", "min"), 0.0001, "it must be text"),
        ((S, "parameters", 0, "feasibleSpace", "max"), None, "needs min and max"),
        ((S, "parameters", 0, "feasibleSpace", "max"), "0.00001", "is more than max"),
        ((S, "parameters", 0, "feasibleSpace", "list"), ["1"], "feasibleSpace.list is not for double"),
        ((S, "parameters", 1, "name"), "learning_rate", "names 'learning_rate' twice"),
        ((S, "metricsCollectorSpec", "collector", "kind"), "Stdout", "collector.kind 'Stdout' is unknown"),
        ((*T,), None, "trialTemplate is missing"),
        ((*T, "primaryContainerName"), None, "primaryContainerName is missing"),
        ((*T, "primaryContainerName"), "main", "'main' is none of ['trial']"),
        ((*T, "trialParameters"), [], "trialParameters is missing"),
        ((*T, "trialParameters", 0, "reference"), "lr", "reference 'lr' is not among the parameters"),
        ((*T, "trialParameters", 0, "name"), "lr", "trialParameters lr are not used"),
        ((*T, "trialParameters", 0, "name"), "lr", "uses learning_rate, which trialParameters does not name"),
        ((*T, "trialSpec", "kind"), None, "trialSpec.kind is missing"),
        ((*T, "trialSpec", "metadata"), {"name": "x"}, "metadata.name must be left out"),
        ((*T, "configMap"), {}, "either trialSpec or configMap"),
    ],
)
def test_what_katib_would_refuse_is_refused_here(manifest, path, value, reason):
    """With the reason, before anything is sent."""
    with pytest.raises(Misconfigured) as refused:
        admit(changed(manifest, path, value))
    assert reason in str(refused.value)


def test_an_experiment_can_be_made_to_measure(settings):
    """Another place, budget and algorithm, still valid."""
    made = experiment(
        "t",
        "s3://a/d",
        CONFIG,
        settings,
        placement=TrialPlacement("ml", "runner"),
        budget=Budget(1, 4, 0, None),
        algorithm="random",
    )
    admit(made)
    assert made["metadata"]["namespace"] == "ml"
    assert "goal" not in made["spec"]["objective"]
