"""The states of a run and the stage, if any, that each one works on."""

from enum import Enum

from statemachine.contracts.stage import Stage


class State(Enum):
    """Where a run is. A plain `Enum`: `transitions` would accept a bare string and add a ghost state."""

    QUEUED = "QUEUED"
    PREPROCESSING = "PREPROCESSING"
    MATERIALISING = "MATERIALISING"
    TRAINING = "TRAINING"
    EVALUATING = "EVALUATING"
    EXPORTING = "EXPORTING"
    SHADOWING = "SHADOWING"
    AWAITING_APPROVAL = "AWAITING_APPROVAL"
    DEPLOYING = "DEPLOYING"
    ROLLING_BACK = "ROLLING_BACK"
    SUCCEEDED = "SUCCEEDED"
    REJECTED = "REJECTED"
    FAILED = "FAILED"
    ROLLED_BACK = "ROLLED_BACK"
    CANCELLED = "CANCELLED"

    @property
    def terminal(self) -> bool:
        """Terminal is final: nothing moves a run out of such a state."""
        return self in TERMINAL

    @property
    def stage(self) -> Stage | None:
        """The stage that runs while a run is in this state."""
        return STAGE_OF.get(self)


TERMINAL = frozenset({State.SUCCEEDED, State.REJECTED, State.FAILED, State.ROLLED_BACK, State.CANCELLED})
ACTIVE = tuple(state for state in State if state not in TERMINAL)

STAGE_OF = {
    State.PREPROCESSING: Stage.PREPROCESS,
    State.MATERIALISING: Stage.MATERIALISE,
    State.TRAINING: Stage.TRAIN,
    State.EVALUATING: Stage.EVALUATE,
    State.EXPORTING: Stage.EXPORT,
    State.SHADOWING: Stage.SHADOW,
    State.DEPLOYING: Stage.DEPLOY,
    State.ROLLING_BACK: Stage.RESTORE,
}
STATE_OF = {stage: state for state, stage in STAGE_OF.items()}
WORKING = tuple(STAGE_OF)
