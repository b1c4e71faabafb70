"""The guards of the table: each a typed function of the case, true or false, no side effects."""

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
    """A redrive that keeps the evaluation, and so exports (again) what it judged."""
    return prepared(snapshot) and snapshot.run.start_at in (Stage.EXPORT, Stage.DEPLOY)


def to_restore(snapshot: Snapshot) -> bool:
    """A rollback asked by a person: it needs the deploying slot only, and works on a model on hold."""
    return prepared(snapshot) and snapshot.run.kind is RunKind.RESTORE and slot_free(snapshot)


# -- what the stage reported -----------------------------------------------------------------------------------


def reported(snapshot: Snapshot) -> bool:
    """The adopted launch left a valid report that says `ok`, and names what the next stages need."""
    return (
        snapshot.observed.report is not None
        and snapshot.observed.report.outcome is Outcome.OK
        and failure(snapshot) is None
    )


def preprocessed(snapshot: Snapshot) -> bool:
    """The data set is there, and each object's acceptance is on record."""
    return reported(snapshot) and snapshot.run.marked


def refused(snapshot: Snapshot) -> bool:
    """The stage judged that the answer is no."""
    return snapshot.observed.report is not None and snapshot.observed.report.outcome is Outcome.REFUSED


def refused_data(snapshot: Snapshot) -> bool:
    """Nothing new was accepted, and each object's quarantine is on record."""
    return refused(snapshot) and snapshot.run.marked


def verdict(snapshot: Snapshot) -> Verdict:
    """The gate's judgement of what `evaluate` measured, which must be against the versions that it was told."""
    evaluation = snapshot.observed.report.details.get("evaluation") if snapshot.observed.report else None
    expected = {"champion": snapshot.run.champion or None, "anchor": anchor(snapshot) or None}
    return gate(evaluation if isinstance(evaluation, dict) else {}, snapshot.policy.gate, **expected)


def passed(snapshot: Snapshot) -> bool:
    """The gate says yes to the candidate, measured against the champion of today."""
    return reported(snapshot) and verdict(snapshot).passed


def passed_for_approval(snapshot: Snapshot) -> bool:
    """The gate says yes, and a person must too."""
    return snapshot.policy.require_approval and passed(snapshot)


def failed_gate(snapshot: Snapshot) -> bool:
    """The gate says no. Never retried."""
    return reported(snapshot) and not verdict(snapshot).passed


def outdated(snapshot: Snapshot) -> bool:
    """The evaluation compared with a version that is no longer the champion."""
    return reported(snapshot) and champion_changed(snapshot)


# -- people ----------------------------------------------------------------------------------------------------


def cancelled(snapshot: Snapshot) -> bool:
    """A person asked for an end."""
    return snapshot.run.asks(RequestKind.CANCEL)


def approved(snapshot: Snapshot) -> bool:
    """A person said yes."""
    return snapshot.run.asks(RequestKind.APPROVE)


def approved_anew(snapshot: Snapshot) -> bool:
    """A person said yes to a candidate that was measured against a former champion."""
    return approved(snapshot) and champion_changed(snapshot)


def disapproved(snapshot: Snapshot) -> bool:
    """A person said no, or nobody said anything in time."""
    return (
        snapshot.run.asks(RequestKind.REJECT)
        or snapshot.now >= snapshot.run.entered_at + snapshot.policy.approval_deadline
    )


# -- release ---------------------------------------------------------------------------------------------------


def has_champion(snapshot: Snapshot) -> bool:
    """There is something to return to."""
    return bool(champion(snapshot))


def champion_changed(snapshot: Snapshot) -> bool:
    """The champion is not the one that the candidate was, or is being, measured against."""
    return snapshot.run.champion != champion(snapshot)


def slot_free(snapshot: Snapshot) -> bool:
    """Nobody deploys this model, or it is us."""
    holder = snapshot.observed.model.deploying
    return holder is None or holder.run_id == snapshot.run.id


def exported(snapshot: Snapshot) -> bool:
    """The version is in the bucket, and it may be deployed now."""
    return reported(snapshot) and slot_free(snapshot) and snapshot.observed.model.hold is None


def exported_outdated(snapshot: Snapshot) -> bool:
    """The version is in the bucket, but the champion changed meanwhile."""
    return reported(snapshot) and champion_changed(snapshot)


def exported_refused(snapshot: Snapshot) -> bool:
    """The content is that of a version which was rolled back: no night promotes it again, only a person's redrive."""
    if not reported(snapshot) or snapshot.observed.report is None or snapshot.run.trigger.kind == "redrive":
        return False
    return content_hash(str(snapshot.observed.report.details.get("version", ""))) in snapshot.observed.model.refused


def restored(snapshot: Snapshot) -> bool:
    """The last good version serves again, after a deploy that failed."""
    return proven(snapshot) and snapshot.run.kind is RunKind.TRAINING


def restored_for_cancel(snapshot: Snapshot) -> bool:
    """The last good version serves again, after a person cancelled the deploy."""
    return restored(snapshot) and cancelled(snapshot)


def restored_on_demand(snapshot: Snapshot) -> bool:
    """The version that a person asked for serves."""
    return proven(snapshot) and snapshot.run.kind is RunKind.RESTORE


# -- failure ---------------------------------------------------------------------------------------------------


def failed(snapshot: Snapshot) -> bool:
    """The attempt failed for good: permanently, or once too often."""
    cause = failure(snapshot)
    return cause is not None and (cause.permanent or snapshot.run.failures + 1 >= snapshot.policy.max_attempts)


def retryable_failure(snapshot: Snapshot) -> bool:
    """The attempt failed in a way that another one may not."""
    return failure(snapshot) is not None and not failed(snapshot)


def failed_with_champion(snapshot: Snapshot) -> bool:
    """The deploy failed, or was cancelled, and there is a last good version to roll forward to."""
    return (failed(snapshot) or cancelled(snapshot)) and has_champion(snapshot)


def overdue(snapshot: Snapshot) -> bool:
    """The launch did not start, or not finish, in its time, and nobody has asked it to stop yet."""
    run, observed = snapshot.run, snapshot.observed
    if run.stage is None or run.stop or not run.kfp_id or observed.report is not None or observed.report_error:
        return False
    return snapshot.now >= deadline(snapshot) and not (observed.kfp_run is None or observed.kfp_run.state.over)


def deadline(snapshot: Snapshot) -> float:
    """When the present launch is overdue, given whether it has started."""
    if snapshot.run.stage is None:
        return float("inf")
    limits = snapshot.policy.of(snapshot.run.stage)
    if snapshot.observed.started is None:
        return snapshot.run.launched_at + limits.start_deadline
    return snapshot.observed.started + limits.run_deadline
