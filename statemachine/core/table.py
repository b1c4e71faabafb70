"""The state machine, on one screen.

A row reads: from `source` to `dest`, when `guard` holds; `effect` changes the rest of the run. Rows of one source are
tried from top to bottom. A row with DRAIN waits until every launch of the run is over. So no run ends, and no attempt
is retried, while an earlier attempt may still be working (two of them could share a GPU).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from statemachine.core import effects as then
from statemachine.core import guards as when
from statemachine.core.effects import Effect
from statemachine.core.proof import proven
from statemachine.core.reason import TransitionReason
from statemachine.core.snapshot import Snapshot
from statemachine.core.states import WORKING, State

Guard = Callable[[Snapshot], bool]


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    source: State
    dest: State
    guard: Guard
    effect: Effect
    requires_drain: bool = False

    @property
    def name(self) -> str:
        """The guard's name, for the diagram."""
        return self.guard.__name__

    @property
    def reason(self) -> TransitionReason:
        """What the transition records; a guard can be renamed without changing it."""
        return REASON_OF[self.guard]


DRAIN = True
S = State

# fmt: off
TABLE = (
    #   source               dest                 when                        then                  drain first
    Row(S.QUEUED,            S.CANCELLED,         when.cancelled,             then.finish,          DRAIN),
    Row(S.QUEUED,            S.FAILED,            when.failed,                then.fail,            DRAIN),
    Row(S.QUEUED,            S.ROLLING_BACK,      when.to_restore,            then.take_slot),
    Row(S.QUEUED,            S.PREPROCESSING,     when.from_preprocess,       then.enter),
    Row(S.QUEUED,            S.MATERIALISING,     when.from_materialise,      then.enter),
    Row(S.QUEUED,            S.TRAINING,          when.from_train,            then.enter),
    Row(S.QUEUED,            S.EVALUATING,        when.from_evaluate,         then.enter),
    Row(S.QUEUED,            S.EXPORTING,         when.from_export,           then.enter),
    Row(S.QUEUED,            S.SHADOWING,         when.from_shadow,           then.enter),

    Row(S.PREPROCESSING,     S.CANCELLED,         when.cancelled,             then.finish,          DRAIN),
    Row(S.PREPROCESSING,     S.MATERIALISING,     when.preprocessed_for_live, then.carry),
    Row(S.PREPROCESSING,     S.TRAINING,          when.preprocessed,          then.carry),
    Row(S.PREPROCESSING,     S.REJECTED,          when.refused_data,          then.reject,          DRAIN),

    Row(S.MATERIALISING,     S.CANCELLED,         when.cancelled,             then.finish,          DRAIN),
    Row(S.MATERIALISING,     S.TRAINING,          when.reported,              then.carry),

    Row(S.TRAINING,          S.CANCELLED,         when.cancelled,             then.finish,          DRAIN),
    Row(S.TRAINING,          S.EVALUATING,        when.reported,              then.carry),
    Row(S.TRAINING,          S.REJECTED,          when.refused,               then.reject,          DRAIN),

    Row(S.EVALUATING,        S.CANCELLED,         when.cancelled,             then.finish,          DRAIN),
    Row(S.EVALUATING,        S.EVALUATING,        when.outdated,              then.enter,           DRAIN),
    Row(S.EVALUATING,        S.REJECTED,          when.failed_gate,           then.reject_by_gate,  DRAIN),
    Row(S.EVALUATING,        S.REJECTED,          when.refused,               then.reject,          DRAIN),
    Row(S.EVALUATING,        S.EXPORTING,         when.passed,                then.judge),

    Row(S.EXPORTING,         S.CANCELLED,         when.cancelled,             then.finish,          DRAIN),
    Row(S.EXPORTING,         S.REJECTED,          when.exported_refused,      then.reject_blocked,  DRAIN),
    Row(S.EXPORTING,         S.EVALUATING,        when.exported_outdated,     then.enter),
    Row(S.EXPORTING,         S.SHADOWING,         when.exported_for_shadow,   then.carry_candidate),
    Row(S.EXPORTING,         S.AWAITING_APPROVAL, when.exported_for_approval, then.carry_candidate),
    Row(S.EXPORTING,         S.DEPLOYING,         when.exported,              then.take_slot),

    Row(S.SHADOWING,         S.CANCELLED,         when.cancelled,             then.finish,          DRAIN),
    Row(S.SHADOWING,         S.EVALUATING,        when.shadow_outdated,       then.enter),
    Row(S.SHADOWING,         S.REJECTED,          when.failed_shadow,         then.reject_by_shadow, DRAIN),
    Row(S.SHADOWING,         S.AWAITING_APPROVAL, when.passed_shadow_for_approval, then.judge_shadow),
    Row(S.SHADOWING,         S.DEPLOYING,         when.passed_shadow,         then.take_slot),

    Row(S.AWAITING_APPROVAL, S.CANCELLED,         when.cancelled,             then.finish,          DRAIN),
    Row(S.AWAITING_APPROVAL, S.REJECTED,          when.disapproved,           then.disapprove,      DRAIN),
    Row(S.AWAITING_APPROVAL, S.EXPORTING,         when.not_exported,          then.enter),
    Row(S.AWAITING_APPROVAL, S.EVALUATING,        when.approved_anew,         then.void_approvals),
    Row(S.AWAITING_APPROVAL, S.DEPLOYING,         when.approved,              then.take_slot),

    Row(S.DEPLOYING,         S.SUCCEEDED,         proven,                     then.promote,         DRAIN),
    Row(S.DEPLOYING,         S.ROLLING_BACK,      when.failed_with_champion,  then.start_rollback,  DRAIN),
    Row(S.DEPLOYING,         S.CANCELLED,         when.cancelled,             then.finish,          DRAIN),

    Row(S.ROLLING_BACK,      S.CANCELLED,         when.restored_for_cancel,   then.finish,          DRAIN),
    Row(S.ROLLING_BACK,      S.ROLLED_BACK,       when.restored,              then.refuse_version,  DRAIN),
    Row(S.ROLLING_BACK,      S.SUCCEEDED,         when.restored_on_demand,    then.promote,         DRAIN),
    Row(S.ROLLING_BACK,      S.FAILED,            when.failed,                then.hold,            DRAIN),

    *(row for stage in WORKING for row in (
    Row(stage,               S.FAILED,            when.failed,                then.fail,            DRAIN),
    Row(stage,               stage,               when.retryable_failure,     then.retry,           DRAIN),
    Row(stage,               stage,               when.overdue,               then.stop),
    )),
)
# fmt: on

REASON_OF: Mapping[Guard, TransitionReason] = {
    when.cancelled: TransitionReason.CANCELLED,
    when.failed: TransitionReason.FAILED,
    when.to_restore: TransitionReason.TO_RESTORE,
    when.from_preprocess: TransitionReason.FROM_PREPROCESS,
    when.from_materialise: TransitionReason.FROM_MATERIALISE,
    when.from_train: TransitionReason.FROM_TRAIN,
    when.from_evaluate: TransitionReason.FROM_EVALUATE,
    when.from_export: TransitionReason.FROM_EXPORT,
    when.from_shadow: TransitionReason.FROM_SHADOW,
    when.preprocessed_for_live: TransitionReason.PREPROCESSED_FOR_LIVE,
    when.preprocessed: TransitionReason.PREPROCESSED,
    when.refused_data: TransitionReason.REFUSED_DATA,
    when.reported: TransitionReason.REPORTED,
    when.refused: TransitionReason.REFUSED,
    when.outdated: TransitionReason.OUTDATED,
    when.failed_gate: TransitionReason.FAILED_GATE,
    when.passed: TransitionReason.PASSED,
    when.disapproved: TransitionReason.DISAPPROVED,
    when.not_exported: TransitionReason.NOT_EXPORTED,
    when.approved_anew: TransitionReason.APPROVED_ANEW,
    when.approved: TransitionReason.APPROVED,
    when.exported_refused: TransitionReason.EXPORTED_REFUSED,
    when.exported_outdated: TransitionReason.EXPORTED_OUTDATED,
    when.exported_for_shadow: TransitionReason.EXPORTED_FOR_SHADOW,
    when.exported_for_approval: TransitionReason.EXPORTED_FOR_APPROVAL,
    when.exported: TransitionReason.EXPORTED,
    when.shadow_outdated: TransitionReason.SHADOW_OUTDATED,
    when.failed_shadow: TransitionReason.FAILED_SHADOW,
    when.passed_shadow_for_approval: TransitionReason.PASSED_SHADOW_FOR_APPROVAL,
    when.passed_shadow: TransitionReason.PASSED_SHADOW,
    when.failed_with_champion: TransitionReason.FAILED_WITH_CHAMPION,
    when.restored_for_cancel: TransitionReason.RESTORED_FOR_CANCEL,
    when.restored: TransitionReason.RESTORED,
    when.restored_on_demand: TransitionReason.RESTORED_ON_DEMAND,
    when.retryable_failure: TransitionReason.RETRYABLE_FAILURE,
    when.overdue: TransitionReason.OVERDUE,
    proven: TransitionReason.PROVEN,
}
