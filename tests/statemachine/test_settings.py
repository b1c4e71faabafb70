"""The settings that a deployment reads from its environment."""

import pytest

from statemachine.settings import read

NEEDED = {"FRAUDLOOP_TABLE": "t", "FRAUDLOOP_DATA_BUCKET": "d", "FRAUDLOOP_ARTIFACTS_BUCKET": "a"}


@pytest.mark.parametrize(
    ("environment", "experiment"),
    [
        ({}, "fraudloop"),
        ({"FRAUDLOOP_STACK_NAME": "fraud-prod"}, "fraud-prod"),
        ({"FRAUDLOOP_STACK_NAME": "fraud-prod", "FRAUDLOOP_KFP_EXPERIMENT": ""}, "fraud-prod"),
        ({"FRAUDLOOP_STACK_NAME": "fraud-prod", "FRAUDLOOP_KFP_EXPERIMENT": "ours"}, "ours"),
    ],
)
def test_two_stacks_do_not_share_an_experiment_by_default(environment: dict[str, str], experiment: str) -> None:
    """The stack's name, unless somebody names one; this machine has no stack."""
    assert read(NEEDED | environment).kfp_experiment == experiment
