"""The request of one launch: the seven parameters that every stage pipeline takes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from statemachine.contracts.stage import Stage


@dataclass(frozen=True)
class StageRequest:
    """One launch of one stage.

    `inputs` are S3 URIs by name, `parameters` plain JSON values. Every launch writes under an `output_uri`
    of its own (`…/runs/<run>/<stage>/<attempt>/<launch_id>`), so a duplicate never overwrites the adopted one.
    """

    run_id: str
    model: str
    stage: Stage
    attempt: int
    launch_id: str
    output_uri: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The KFP run's display name, the same for every launch of this attempt, so that it can be found."""
        return kfp_run_name(self.run_id, self.stage, self.attempt)

    def arguments(self) -> dict[str, Any]:
        """The KFP pipeline's runtime parameters."""
        return {
            "run_id": self.run_id,
            "model": self.model,
            "attempt": self.attempt,
            "launch_id": self.launch_id,
            "output_uri": self.output_uri,
            "inputs": dict(self.inputs),
            "parameters": dict(self.parameters),
        }


def kfp_run_name(run_id: str, stage: Stage, attempt: int) -> str:
    """`<run_id>.<stage>.<attempt>`: no `+` and no `%`, since KFP decodes filters twice."""
    return f"{run_id}.{stage.value}.{attempt}"
