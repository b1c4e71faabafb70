"""The request of each stage: docs/contracts.md, row by row."""

from dataclasses import replace

import pytest

from simulation.memory.cases import NEW, OLD, OTHER, OUTPUTS, model, release, snapshot
from statemachine.contracts.report import Artifact
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from statemachine.core.policy import Serving
from statemachine.core.request_builder import build_request
from statemachine.core.snapshot import Snapshot
from statemachine.core.states import State

A = "s3://artifacts"
MODELS = f"{A}/models/fraud"
INPUTS = {
    State.PREPROCESSING: {"manifest": f"{A}/manifest.json", "champion": f"{MODELS}/{OLD}"},
    State.MATERIALISING: {"dataset": f"{A}/dataset"},
    State.TRAINING: {"dataset": f"{A}/dataset"},
    State.EVALUATING: {"dataset": f"{A}/dataset", "model": f"{A}/model", "champion": f"{MODELS}/{OLD}"},
    State.EXPORTING: {
        "dataset": f"{A}/dataset",
        "model": f"{A}/model",
        "evaluation": f"{A}/evaluation",
        "profile": f"{A}/profile",
    },
    State.SHADOWING: {
        "repository": f"{MODELS}/{NEW}",
        "champion": f"{MODELS}/{OLD}",
    },
    State.DEPLOYING: {"repository": f"{MODELS}/{NEW}"},
    State.ROLLING_BACK: {"repository": f"{MODELS}/{OLD}"},
}


def requested(state: State, **more: object) -> StageRequest:
    return build_request(snapshot(state, **more))  # type: ignore[arg-type]


@pytest.mark.parametrize("state", INPUTS, ids=lambda state: state.value)
def test_the_inputs_of_each_stage(state: State) -> None:
    """Names and URIs as in the contract."""
    assert requested(state).inputs == INPUTS[state]


def test_every_stage_has_inputs_here() -> None:
    """A new stage needs a row."""
    assert {state.stage for state in INPUTS} == set(Stage)


def test_a_first_run_has_no_champion_to_compare_with() -> None:
    """An input that is not there is not named."""
    first = snapshot(State.EVALUATING, of_run={"champion": ""}, of_model={"champion": None, "anchor": None})
    assert set(build_request(first).inputs) == {"dataset", "model"}
    assert set(requested(State.PREPROCESSING, of_model={"champion": None}).inputs) == {"manifest"}


def test_the_rival_is_the_one_noted_when_evaluation_began() -> None:
    """Should the champion change before the launch, the order is still about the noted one."""
    given = requested(State.EVALUATING, of_run={"champion": OTHER})
    assert given.inputs["champion"] == f"{MODELS}/{OTHER}"


def test_the_anchor_is_named_once_it_is_not_the_champion() -> None:
    """So that quality cannot fall a little with every run."""
    given = requested(State.EVALUATING, of_model={"anchor": release(OTHER)})
    assert given.inputs["anchor"] == f"{MODELS}/{OTHER}"
    assert "anchor" not in requested(State.EVALUATING).inputs


def test_a_release_is_told_where_under_which_generation_and_which_version() -> None:
    """The parameters of deploy and restore."""
    serving = Serving("triton-fraud", "argocd", "triton", "pods", 300)
    given = requested(State.DEPLOYING, of_policy={"serving": serving})
    assert given.parameters == {
        "version": NEW,
        "generation": 4,
        "application": "triton-fraud",
        "application_namespace": "argocd",
        "namespace": "triton",
        "service": "pods",
        "timeout_seconds": 300,
    }
    exported = OUTPUTS | {"export": {"repository": Artifact(f"{MODELS}/{NEW}", "ab12")}}
    bound = requested(State.DEPLOYING, of_policy={"serving": serving}, of_run={"outputs": exported})
    assert bound.parameters == {**given.parameters, "manifest": "ab12"}
    back = requested(State.ROLLING_BACK, of_run={"target": OTHER})
    assert (back.parameters["version"], back.inputs["repository"]) == (OTHER, f"{MODELS}/{OTHER}")


def test_data_set_and_store_keep_as_many_transactions_as_training_reads() -> None:
    """`k` is a parameter of train. With another one in the data set, train would compute the states again."""
    both = {"parameters": {"train": {"k": 16}, "preprocess": {"k": 32}}}
    assert requested(State.PREPROCESSING, of_run=both).parameters["k"] == 16
    assert "k" not in requested(State.PREPROCESSING).parameters
    assert requested(State.MATERIALISING, of_run={"parameters": {"train": {"k": 16}}}).parameters == {"k": 16}
    assert requested(State.MATERIALISING).parameters == {}


def test_configured_parameters_reach_the_stage_but_cannot_replace_ours() -> None:
    """What the run began with; the gate and the version are not the configuration's to say."""
    run = {"parameters": {"train": {"hidden_dim": 64}, "deploy": {"version": "mine", "extra": 1}}}
    assert requested(State.TRAINING, of_run=run).parameters["hidden_dim"] == 64
    deploy = requested(State.DEPLOYING, of_run=run).parameters
    assert (deploy["version"], deploy["extra"]) == (NEW, 1)


def test_names_and_places() -> None:
    """The KFP name is known beforehand; outputs go under the attempt, and under the launch once it is drawn."""
    given = requested(State.TRAINING, of_run={"attempt": 2})
    assert (given.name, given.output_uri) == ("fraud-7.train.2", f"{A}/runs/fraud-7/train/2")
    assert set(given.arguments()) == {
        "run_id", "model", "attempt", "launch_id", "output_uri", "inputs", "parameters",
    }  # fmt: skip


def test_an_order_is_the_same_on_every_pass() -> None:
    """It depends on the record alone."""
    given = snapshot(State.EVALUATING)
    later_on = Snapshot(given.run, replace(given.observed, duplicates=None), given.policy, given.now + 500, 0.9)
    assert build_request(given) == build_request(later_on)
    assert model().champion == release(OLD)
