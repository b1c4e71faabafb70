"""The guards of the table: each a typed function of the case, true or false, no side effects."""

from statemachine.core.case import Case
from statemachine.core.failure import failure
from statemachine.core.gate import Verdict, gate
from statemachine.core.model import content_hash
from statemachine.core.proof import anchor, champion, proven
from statemachine.core.report import Outcome
from statemachine.core.run import Kind, WishKind
from statemachine.core.states import Stage

# -- before the first stage ------------------------------------------------------------------------------------


def prepared(case: Case) -> bool:
    """The manifest is written and every pipeline version that the run will use is known."""
    needs_manifest = case.run.kind is Kind.TRAINING
    return bool(case.run.manifest or not needs_manifest) and bool(case.run.pins or case.seen.pins)


def from_preprocess(case: Case) -> bool:
    """A fresh run."""
    return prepared(case) and case.run.kind is Kind.TRAINING and case.run.start_at is Stage.PREPROCESS


def from_train(case: Case) -> bool:
    """A redrive that keeps the data set."""
    return prepared(case) and case.run.start_at is Stage.TRAIN


def from_evaluate(case: Case) -> bool:
    """A redrive that keeps the model, or one that would skip evaluation although the champion has changed."""
    later = case.run.start_at in (Stage.EXPORT, Stage.DEPLOY) and champion_changed(case)
    return prepared(case) and (case.run.start_at is Stage.EVALUATE or later)


def from_export(case: Case) -> bool:
    """A redrive that keeps the evaluation, and so exports (again) what it judged."""
    return prepared(case) and case.run.start_at in (Stage.EXPORT, Stage.DEPLOY)


def to_restore(case: Case) -> bool:
    """A rollback asked by a person: it needs the deploying slot only, and works on a model on hold."""
    return prepared(case) and case.run.kind is Kind.RESTORE and slot_free(case)


# -- what the stage reported -----------------------------------------------------------------------------------


def reported(case: Case) -> bool:
    """The adopted launch left a valid report that says `ok`, and names what the next stages need."""
    return case.seen.report is not None and case.seen.report.outcome is Outcome.OK and failure(case) is None


def learned(case: Case) -> bool:
    """The data set is there, and each object's acceptance is on record."""
    return reported(case) and case.run.marked


def refused(case: Case) -> bool:
    """The stage judged that the answer is no."""
    return case.seen.report is not None and case.seen.report.outcome is Outcome.REFUSED


def refused_data(case: Case) -> bool:
    """Nothing new was accepted, and each object's quarantine is on record."""
    return refused(case) and case.run.marked


def verdict(case: Case) -> Verdict:
    """The gate's judgement of what `evaluate` measured, which must be against the versions that it was told."""
    evaluation = case.seen.report.details.get("evaluation") if case.seen.report else None
    rivals = {"champion": case.run.champion or None, "anchor": anchor(case) or None}
    return gate(evaluation if isinstance(evaluation, dict) else {}, case.policy.gate, **rivals)


def passed(case: Case) -> bool:
    """The gate says yes to the candidate, measured against the champion of today."""
    return reported(case) and verdict(case).passed


def passed_for_approval(case: Case) -> bool:
    """The gate says yes, and a person must too."""
    return case.policy.require_approval and passed(case)


def failed_gate(case: Case) -> bool:
    """The gate says no. Never retried."""
    return reported(case) and not verdict(case).passed


def outdated(case: Case) -> bool:
    """The evaluation compared with a version that is no longer the champion."""
    return reported(case) and champion_changed(case)


# -- people ----------------------------------------------------------------------------------------------------


def cancelled(case: Case) -> bool:
    """A person asked for an end."""
    return case.run.asks(WishKind.CANCEL)


def approved(case: Case) -> bool:
    """A person said yes."""
    return case.run.asks(WishKind.APPROVE)


def approved_anew(case: Case) -> bool:
    """A person said yes to a candidate that was measured against a former champion."""
    return approved(case) and champion_changed(case)


def disapproved(case: Case) -> bool:
    """A person said no, or nobody said anything in time."""
    return case.run.asks(WishKind.REJECT) or case.now >= case.run.entered_at + case.policy.approval_deadline


# -- release ---------------------------------------------------------------------------------------------------


def has_champion(case: Case) -> bool:
    """There is something to return to."""
    return bool(champion(case))


def champion_changed(case: Case) -> bool:
    """The champion is not the one that the candidate was, or is being, measured against."""
    return case.run.champion != champion(case)


def slot_free(case: Case) -> bool:
    """Nobody deploys this model, or it is us."""
    holder = case.seen.model.deploying
    return holder is None or holder.run_id == case.run.id


def exported(case: Case) -> bool:
    """The version is in the bucket, and it may be deployed now."""
    return reported(case) and slot_free(case) and case.seen.model.hold is None


def exported_outdated(case: Case) -> bool:
    """The version is in the bucket, but the champion changed meanwhile."""
    return reported(case) and champion_changed(case)


def exported_refused(case: Case) -> bool:
    """The content is that of a version which was rolled back: no night promotes it again, only a person's redrive."""
    if not reported(case) or case.seen.report is None or case.run.trigger.kind == "redrive":
        return False
    return content_hash(str(case.seen.report.details.get("version", ""))) in case.seen.model.refused


def restored(case: Case) -> bool:
    """The last good version serves again, after a deploy that failed."""
    return proven(case) and case.run.kind is Kind.TRAINING


def restored_for_cancel(case: Case) -> bool:
    """The last good version serves again, after a person cancelled the deploy."""
    return restored(case) and cancelled(case)


def restored_on_demand(case: Case) -> bool:
    """The version that a person asked for serves."""
    return proven(case) and case.run.kind is Kind.RESTORE


# -- failure ---------------------------------------------------------------------------------------------------


def failed(case: Case) -> bool:
    """The attempt failed for good: permanently, or once too often."""
    trouble = failure(case)
    return trouble is not None and (trouble.permanent or case.run.failures + 1 >= case.policy.max_attempts)


def failed_for_a_while(case: Case) -> bool:
    """The attempt failed in a way that another one may not."""
    return failure(case) is not None and not failed(case)


def failed_with_champion(case: Case) -> bool:
    """The deploy failed, or was cancelled, and there is a last good version to roll forward to."""
    return (failed(case) or cancelled(case)) and has_champion(case)


def overdue(case: Case) -> bool:
    """The launch did not start, or not finish, in its time, and nobody has asked it to stop yet."""
    run, seen = case.run, case.seen
    if run.stage is None or run.stop or not run.kfp_id or seen.report is not None or seen.misreport:
        return False
    return case.now >= deadline(case) and not (seen.launch is None or seen.launch.state.over)


def deadline(case: Case) -> float:
    """When the present launch is overdue, given whether it has started."""
    if case.run.stage is None:
        return float("inf")
    limits = case.policy.of(case.run.stage)
    if case.seen.started is None:
        return case.run.launched_at + limits.start_deadline
    return case.seen.started + limits.run_deadline
