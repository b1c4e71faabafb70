"""The gate inside of a pipeline: the evaluation that an artifact points to, judged by the controller's own function."""

from collections.abc import Mapping
from typing import Any

from statemachine.contracts.gate import GatePolicy, Verdict, gate
from training import storage
from training.runtime.launch import read_pointer


def judge(evaluation: Any, policy: Mapping[str, Any]) -> Verdict:
    """The verdict on the report of the evaluate step that left this artifact; `policy` is the model's gate table."""
    report = storage.read_json(read_pointer(evaluation)["report"])
    return gate(report["details"]["evaluation"], GatePolicy.from_dict(policy))
