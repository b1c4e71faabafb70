"""Applies the gate inside a KFP pipeline, by the same function as the controller."""

from collections.abc import Mapping
from typing import Any

from statemachine.contracts.gate import GatePolicy, Verdict, gate
from training import storage
from training.runtime.launch import read_pointer


def judge(evaluation: Any, policy: Mapping[str, Any]) -> Verdict:
    """Returns the verdict on the evaluate step's report, which the artifact points to; `policy` is the model's gate
    table.
    """
    report = storage.read_json(read_pointer(evaluation)["report"])
    return gate(report["details"]["evaluation"], GatePolicy.from_dict(policy))
