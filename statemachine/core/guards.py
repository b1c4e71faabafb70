"""The guards of the table: typed predicates of the snapshot, without side effects."""

from statemachine.contracts.gate import Verdict, gate
from statemachine.contracts.report import Outcome
from statemachine.contracts.stage import Stage
from statemachine.core.failure import failure
from statemachine.core.model import content_hash
from statemachine.core.proof import anchor, champion, proven
from statemachine.core.run import RequestKind, RunKind
from statemachine.core.snapshot import Snapshot

# -- before the first stage ------------------------------------------------------------------------------------


def prepared(snapshot: Snapshot) -> bool:
    """The manifest is written and every pipeline version that the run will use is known."""
    needs_manifest = snapshot.run.kind is RunKind.TRAINING
    return bool(snapshot.run.manifest or not needs_manifest) and bool(snapshot.run.pins or snapshot.observed.pins)


def from_preprocess(snapshot: Snapshot) -> bool:
    """A fresh run."""
    return prepared(snapshot) and snapshot.run.kind is RunKind.TRAINING and snapshot.run.start_at is Stage.PREPROCESS


def from_train(snapshot: Snapshot) -> bool:
    """A redrive that keeps the data set."""
    return prepared(snapshot) and snapshot.run.start_at is Stage.TRAIN


def from_evaluate(snapshot: Snapshot) -> bool:
    """A redrive that keeps the model, or one that would skip evaluation although the champion has changed."""
    later = snapshot.run.start_at in (Stage.EXPORT, Stage.DEPLOY) and champion_changed(snapshot)
    return prepared(snapshot) and (snapshot.run.start_at is Stage.EVALUATE or later)


def from_export(snapshot: Snapshot) -> bool:
    """A redrive that keeps the evaluation, and exports its candidate again."""
    return prepared(snapshot) and snapshot.run.start_at in (Stage.EXPORT, Stage.DEPLOY)


def to_restore(snapshot: Snapshot) -> bool:
    """A rollback that an operator requested: it needs only the deploying slot, and works while the model is on hold."""
    return prepared(snapshot) and snapshot.run.kind is RunKind.RESTORE and slot_free(snapshot)


# -- what the stage reported -----------------------------------------------------------------------------------


def reported(snapshot: Snapshot) -> bool:
    """The adopted launch wrote a valid report with outcome `ok`, and the report names what later stages need."""
    return (
        snapshot.observed.report is not None
        and snapshot.observed.report.outcome is Outcome.OK
        and failure(snapshot) is None
    )


def preprocessed(snapshot: Snapshot) -> bool:
    """The data set exists, and the acceptance of each object is on record."""
    return reported(snapshot) and snapshot.run.marked


def refused(snapshot: Snapshot) -> bool:
    """The stage reported `refused`."""
    return snapshot.observed.report is not None and snapshot.observed.report.outcome is Outcome.REFUSED


def refused_data(snapshot: Snapshot) -> bool:
    """No new object was accepted, and the quarantine of each is on record."""
    return refused(snapshot) and snapshot.run.marked


def verdict(snapshot: Snapshot) -> Verdict:
    """The gate's verdict on the evaluation, which must compare with the versions that the request named."""
    evaluation = snapshot.observed.report.details.get("evaluation") if snapshot.observed.report else None
    expected = {"champion": snapshot.run.champion or None, "anchor": anchor(snapshot) or None}
    return gate(evaluation if isinstance(evaluation, dict) else {}, snapshot.policy.gate, **expected)


def passed(snapshot: Snapshot) -> bool:
    """The candidate passes the gate against the current champion."""
    return reported(snapshot) and verdict(snapshot).passed


def passed_for_approval(snapshot: Snapshot) -> bool:
    """The candidate passes the gate, and the policy requires an approval."""
    return snapshot.policy.require_approval and passed(snapshot)


def failed_gate(snapshot: Snapshot) -> bool:
    """The candidate fails the gate. Never retried."""
    return reported(snapshot) and not verdict(snapshot).passed


def outdated(snapshot: Snapshot) -> bool:
    """The evaluation compared with a version that is no longer the champion."""
    return reported(snapshot) and champion_changed(snapshot)


# -- people ----------------------------------------------------------------------------------------------------


def cancelled(snapshot: Snapshot) -> bool:
    """An operator cancelled the run."""
    return snapshot.run.asks(RequestKind.CANCEL)


def approved(snapshot: Snapshot) -> bool:
    """An operator approved the candidate."""
    return snapshot.run.asks(RequestKind.APPROVE)


def approved_anew(snapshot: Snapshot) -> bool:
    """An operator approved a candidate that was compared with a former champion."""
    return approved(snapshot) and champion_changed(snapshot)


def disapproved(snapshot: Snapshot) -> bool:
    """An operator rejected the candidate, or nobody answered before the deadline."""
    return (
        snapshot.run.asks(RequestKind.REJECT)
        or snapshot.now >= snapshot.run.entered_at + snapshot.policy.approval_deadline
    )


# -- release ---------------------------------------------------------------------------------------------------


def has_champion(snapshot: Snapshot) -> bool:
    """There is a champion to return to."""
    return bool(champion(snapshot))


def champion_changed(snapshot: Snapshot) -> bool:
    """The champion is not the version that the candidate was, or is being, compared with."""
    return snapshot.run.champion != champion(snapshot)


def slot_free(snapshot: Snapshot) -> bool:
    """No other run holds the model's deploying slot."""
    holder = snapshot.observed.model.deploying
    return holder is None or holder.run_id == snapshot.run.id


def exported(snapshot: Snapshot) -> bool:
    """The version is exported, and it may be deployed now."""
    return reported(snapshot) and slot_free(snapshot) and snapshot.observed.model.hold is None


def exported_outdated(snapshot: Snapshot) -> bool:
    """The version is exported, but the champion changed meanwhile."""
    return reported(snapshot) and champion_changed(snapshot)


def exported_refused(snapshot: Snapshot) -> bool:
    """The content equals that of a version that was rolled back: only an operator's redrive promotes it again."""
    if not reported(snapshot) or snapshot.observed.report is None or snapshot.run.trigger.kind == "redrive":
        return False
    return content_hash(str(snapshot.observed.report.details.get("version", ""))) in snapshot.observed.model.refused


def restored(snapshot: Snapshot) -> bool:
    """The last good version serves again after a failed deploy."""
    return proven(snapshot) and snapshot.run.kind is RunKind.TRAINING


def restored_for_cancel(snapshot: Snapshot) -> bool:
    """The last good version serves again after an operator cancelled the deploy."""
    return restored(snapshot) and cancelled(snapshot)


def restored_on_demand(snapshot: Snapshot) -> bool:
    """The version that the operator requested serves."""
    return proven(snapshot) and snapshot.run.kind is RunKind.RESTORE


# -- failure ---------------------------------------------------------------------------------------------------


def failed(snapshot: Snapshot) -> bool:
    """The attempt failed permanently, or too often."""
    cause = failure(snapshot)
    return cause is not None and (cause.permanent or snapshot.run.failures + 1 >= snapshot.policy.max_attempts)


def retryable_failure(snapshot: Snapshot) -> bool:
    """The attempt failed, and another one may succeed."""
    return failure(snapshot) is not None and not failed(snapshot)


def failed_with_champion(snapshot: Snapshot) -> bool:
    """The deploy failed or was cancelled, and there is a last good version to deploy again."""
    return (failed(snapshot) or cancelled(snapshot)) and has_champion(snapshot)


def overdue(snapshot: Snapshot) -> bool:
    """The launch missed its start or run deadline, and was not asked to stop yet."""
    run, observed = snapshot.run, snapshot.observed
    if run.stage is None or run.stop or not run.kfp_id or observed.report is not None or observed.report_error:
        return False
    return snapshot.now >= deadline(snapshot) and not (observed.kfp_run is None or observed.kfp_run.state.over)


def deadline(snapshot: Snapshot) -> float:
    """When the current launch is overdue, depending on whether it has started."""
    if snapshot.run.stage is None:
        return float("inf")
    limits = snapshot.policy.of(snapshot.run.stage)
    if snapshot.observed.started is None:
        return snapshot.run.launched_at + limits.start_deadline
    return snapshot.observed.started + limits.run_deadline
