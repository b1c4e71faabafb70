"""The guards of the table: typed predicates of the snapshot, without side effects."""

from statemachine.contracts.gate import Verdict, gate
from statemachine.contracts.report import Outcome
from statemachine.contracts.shadow import ShadowVerdict, shadow_verdict
from statemachine.contracts.stage import Stage
from statemachine.core.approval import approvals_lacking
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


def from_materialise(snapshot: Snapshot) -> bool:
    """A redrive that keeps the data set, and brings the online store up to it again."""
    return prepared(snapshot) and snapshot.run.start_at is Stage.MATERIALISE and _works_on(snapshot, Stage.MATERIALISE)


def from_train(snapshot: Snapshot) -> bool:
    """A redrive that keeps the data set."""
    skipped = snapshot.run.start_at is Stage.MATERIALISE and not _works_on(snapshot, Stage.MATERIALISE)
    return prepared(snapshot) and (snapshot.run.start_at is Stage.TRAIN or skipped)


def from_evaluate(snapshot: Snapshot) -> bool:
    """A redrive that keeps the model, or one that would skip evaluation although the champion has changed."""
    later = snapshot.run.start_at in (Stage.EXPORT, Stage.SHADOW, Stage.DEPLOY) and champion_changed(snapshot)
    return prepared(snapshot) and (snapshot.run.start_at is Stage.EVALUATE or later)


def from_export(snapshot: Snapshot) -> bool:
    """A redrive that keeps the evaluation, and exports its candidate again."""
    skipped = snapshot.run.start_at is Stage.SHADOW and not _works_on(snapshot, Stage.SHADOW)
    return prepared(snapshot) and (snapshot.run.start_at in (Stage.EXPORT, Stage.DEPLOY) or skipped)


def from_shadow(snapshot: Snapshot) -> bool:
    """A redrive that keeps the exported version, and tries it again."""
    return prepared(snapshot) and snapshot.run.start_at is Stage.SHADOW and _works_on(snapshot, Stage.SHADOW)


def _works_on(snapshot: Snapshot, stage: Stage) -> bool:
    """Whether the policy asks for that stage, and the run's pipelines have it; runs of earlier releases go on."""
    asked = {Stage.MATERIALISE: snapshot.policy.live, Stage.SHADOW: snapshot.policy.shadow.enabled}
    return asked[stage] and stage.value in (snapshot.run.pins or snapshot.observed.pins)


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


def preprocessed_for_live(snapshot: Snapshot) -> bool:
    """The data set exists, and the model is scored live: the online store learns of it first."""
    return preprocessed(snapshot) and _works_on(snapshot, Stage.MATERIALISE)


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


def consented(snapshot: Snapshot) -> bool:
    """As many persons as the policy asks for approved exactly what the run would deploy now."""
    return approvals_lacking(snapshot.run, snapshot.policy, snapshot.now) == 0


def approved(snapshot: Snapshot) -> bool:
    """Enough persons approved the candidate, and it may be deployed now."""
    return consented(snapshot) and may_deploy(snapshot)


def approved_anew(snapshot: Snapshot) -> bool:
    """Enough persons approved a candidate that was compared with a former champion: their approval is void."""
    return consented(snapshot) and champion_changed(snapshot)


def not_exported(snapshot: Snapshot) -> bool:
    """The earlier release asked for approval before export: the version is made first, and then asked about."""
    return not snapshot.run.candidate


def disapproved(snapshot: Snapshot) -> bool:
    """An operator rejected the candidate, or too few approved it before the deadline."""
    late = snapshot.now >= snapshot.run.entered_at + snapshot.policy.approval_deadline
    return snapshot.run.asks(RequestKind.REJECT) or (late and not consented(snapshot))


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


def may_deploy(snapshot: Snapshot) -> bool:
    """The deploying slot is free, and the model is not on hold."""
    return slot_free(snapshot) and snapshot.observed.model.hold is None


def exported(snapshot: Snapshot) -> bool:
    """The version is exported, and it may be deployed now."""
    return reported(snapshot) and may_deploy(snapshot)


def exported_for_shadow(snapshot: Snapshot) -> bool:
    """The version is exported, and is tried on the serving image before it may be deployed."""
    return reported(snapshot) and _works_on(snapshot, Stage.SHADOW)


def exported_for_approval(snapshot: Snapshot) -> bool:
    """The version is exported, no shadow is asked for, and the policy requires an approval."""
    return reported(snapshot) and snapshot.policy.require_approval


def exported_outdated(snapshot: Snapshot) -> bool:
    """The version is exported, but the champion changed meanwhile."""
    return reported(snapshot) and champion_changed(snapshot)


def exported_refused(snapshot: Snapshot) -> bool:
    """The content equals that of a version that was rolled back: only an operator's redrive promotes it again."""
    if not reported(snapshot) or snapshot.observed.report is None or snapshot.run.trigger.kind == "redrive":
        return False
    return content_hash(str(snapshot.observed.report.details.get("version", ""))) in snapshot.observed.model.refused


def shadowed(snapshot: Snapshot) -> ShadowVerdict:
    """The verdict on what the shadow stage measured, which must be of the versions that the request named."""
    figures = snapshot.observed.report.details.get("shadow") if snapshot.observed.report else None
    return shadow_verdict(
        figures if isinstance(figures, dict) else {},
        snapshot.policy.shadow,
        candidate=snapshot.run.candidate,
        champion=snapshot.run.champion,
    )


def shadow_outdated(snapshot: Snapshot) -> bool:
    """The candidate was tried beside a version that is no longer the champion."""
    return reported(snapshot) and champion_changed(snapshot)


def failed_shadow(snapshot: Snapshot) -> bool:
    """The candidate does not hold on the serving image. Never retried, and nothing of it reaches the cluster."""
    return reported(snapshot) and not shadowed(snapshot).passed


def passed_shadow_for_approval(snapshot: Snapshot) -> bool:
    """The candidate holds on the serving image, and the policy requires an approval."""
    return snapshot.policy.require_approval and reported(snapshot) and shadowed(snapshot).passed


def passed_shadow(snapshot: Snapshot) -> bool:
    """The candidate holds on the serving image, and it may be deployed now."""
    return reported(snapshot) and shadowed(snapshot).passed and may_deploy(snapshot)


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
