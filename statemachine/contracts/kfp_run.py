"""A KFP run as the controller sees it: one launch of one attempt of a stage."""

from dataclasses import dataclass
from enum import Enum


class KfpRunState(Enum):
    """KFP's `V2beta1RuntimeState`, and UNKNOWN for anything newer than us."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    CANCELING = "CANCELING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    CANCELED = "CANCELED"
    UNKNOWN = "UNKNOWN"

    @property
    def over(self) -> bool:
        """Nothing runs any more. CANCELING is not over: its pods may still be working."""
        return self in OVER

    @property
    def may_never_end(self) -> bool:
        """KFP says CANCELING before it asks the workflow to end: if there is none, nothing ever ends the run."""
        return self in (KfpRunState.CANCELING, KfpRunState.UNKNOWN)

    @property
    def stoppable(self) -> bool:
        """Terminate is valid from these states only; on a CANCELING run it is an error."""
        return self in STOPPABLE


OVER = frozenset({KfpRunState.SUCCEEDED, KfpRunState.FAILED, KfpRunState.SKIPPED, KfpRunState.CANCELED})
STOPPABLE = frozenset({KfpRunState.PENDING, KfpRunState.RUNNING, KfpRunState.PAUSED, KfpRunState.UNKNOWN})


@dataclass(frozen=True)
class KfpRun:
    """One KFP run; `launch_id` is the parameter that our CreateRun gave it ("" if it is not ours)."""

    kfp_id: str
    name: str
    launch_id: str
    state: KfpRunState
    created_at: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class PinnedVersion:
    """The exact pipeline version that a run began with and keeps."""

    pipeline_id: str
    version_id: str
    version_name: str
