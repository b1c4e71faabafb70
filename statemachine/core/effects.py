"""What a move changes besides the state: pure functions from a snapshot to the new run and model."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from statemachine.contracts import paths
from statemachine.contracts.gate import GateCheck, Verdict
from statemachine.contracts.limits import SHADOW_BYTES, VERDICT_BYTES, clipped
from statemachine.contracts.shadow import ShadowVerdict
from statemachine.contracts.stage import Stage
from statemachine.core.approval import valid_approvals
from statemachine.core.backoff import backoff
from statemachine.core.failure import failure
from statemachine.core.guards import deadline, shadowed, verdict
from statemachine.core.model import Hold, Model, Release, content_hash
from statemachine.core.proof import champion, wanted_version
from statemachine.core.run import RequestKind, Run, RunKind
from statemachine.core.snapshot import Snapshot
from statemachine.core.states import State

KEEP_REFUSED = 50
LEAST_ROOM = 16 * 1024  # of the verdict's bytes, for its reason beyond ASCII
OURSELVES = "fraudloop"  # who put a model on hold when a restore failed

Effect = Callable[[Snapshot, State], tuple[Run, Model]]


def enter(snapshot: Snapshot, dest: State) -> tuple[Run, Model]:
    """Enter the next state with a new attempt, whose number was never used before."""
    stage, run = dest.stage, snapshot.run
    fresh = replace(
        run,
        state=dest,
        entered_at=snapshot.now,
        due_at=snapshot.now,
        failures=0,
        reason="",
        pins=run.pins or snapshot.observed.pins,
        marked=False,
        operator_request=run.operator_request if run.asks(RequestKind.CANCEL) else None,
    )
    return (_attempt(snapshot, fresh, stage) if stage else _no_launch(fresh)), snapshot.observed.model


def _attempt(snapshot: Snapshot, run: Run, stage: Stage) -> Run:
    """A new attempt number. An evaluation records which champion it compares with."""
    number = run.attempts.get(stage.value, 0) + 1
    compared = champion(snapshot) if stage is Stage.EVALUATE else run.champion
    return replace(_no_launch(run), attempt=number, attempts={**run.attempts, stage.value: number}, champion=compared)


def _no_launch(run: Run) -> Run:
    return replace(
        run,
        attempt=0,
        kfp_id="",
        launch_id="",
        launched_at=0.0,
        started_at=0.0,
        retry_at=0.0,
        stop="",
        report_error="",
        unreachable_count=0,
        lapsed=0,
        stopping_since=0.0,
        denied_since=0.0,
    )


def carry(snapshot: Snapshot, dest: State) -> tuple[Run, Model]:
    """Store what the stage reported, and enter the next state."""
    run, model = enter(snapshot, dest)
    return _with_report(snapshot, run), model


def _with_report(snapshot: Snapshot, run: Run) -> Run:
    report, stage = snapshot.observed.report, snapshot.run.stage
    if report is None or stage is None or snapshot.run.report_error:
        return run
    return replace(
        run,
        outputs={**run.outputs, stage.value: dict(report.outputs)},
        metrics={**run.metrics, **report.metrics},
    )


def judge(snapshot: Snapshot, dest: State) -> tuple[Run, Model]:
    """Store the verdict, and enter the next state."""
    run, model = carry(snapshot, dest)
    return replace(run, verdict=_on_record(verdict(snapshot))), model


def judge_shadow(snapshot: Snapshot, dest: State) -> tuple[Run, Model]:
    """Store the shadow's verdict, and enter the next state."""
    run, model = carry(snapshot, dest)
    return replace(run, shadow=_on_record(shadowed(snapshot))), model


def carry_candidate(snapshot: Snapshot, dest: State) -> tuple[Run, Model]:
    """Store the version that was exported, and enter the next state."""
    run, model = carry(snapshot, dest)
    version = snapshot.observed.report.details.get("version", "") if snapshot.observed.report else ""
    return replace(run, candidate=str(version)), model


def _on_record(judged: Verdict | ShadowVerdict) -> Mapping[str, Any]:
    """The verdict cut to the size of a record: texts are clipped, and failed checks come first."""
    checks = [_short(check) for check in judged.checks]
    kept: dict[str, Any] = {"passed": judged.passed, "checks": checks, "reason": clipped(judged.reason)}
    most = VERDICT_BYTES
    if isinstance(judged, ShadowVerdict):
        kept["outcome"], most = judged.outcome.value, SHADOW_BYTES
    if len(json.dumps(kept)) > most:
        kept["checks"] = _worst(checks, most - LEAST_ROOM)
    return kept


def _worst(checks: list[dict[str, Any]], room: int) -> list[dict[str, Any]]:
    """As many checks as fit, failed ones first."""
    kept = []
    for check in sorted(checks, key=lambda one: bool(one["passed"])):
        room -= len(json.dumps(check))
        if room < 0:
            break
        kept.append(check)
    return kept


def _short(check: GateCheck) -> dict[str, Any]:
    return {**asdict(check), "name": clipped(check.name, 200), "note": clipped(check.note, 500)}


def take_slot(snapshot: Snapshot, dest: State) -> tuple[Run, Model]:
    """Take the deploying slot under a new generation, which fences deploys under older ones."""
    before: Mapping[State, Effect] = {State.EXPORTING: carry_candidate, State.SHADOWING: judge_shadow}
    run, model = before.get(snapshot.run.state, enter)(snapshot, dest)
    generation = model.generation + 1
    return replace(run, generation=generation), model.deployed_by(run.id, generation)


def void_approvals(snapshot: Snapshot, dest: State) -> tuple[Run, Model]:
    """Evaluate again, because the champion changed: what was approved is not what would be deployed."""
    run, model = enter(snapshot, dest)
    persons = ", ".join(each.who for each in valid_approvals(snapshot.run, snapshot.policy, snapshot.now))
    now_serves = champion(snapshot) or "nothing"
    compared = snapshot.run.champion or "no champion"
    reason = f"the approval by {persons} is void: it was of a comparison with {compared}; {now_serves} serves now"
    return replace(run, approvals=(), shadow={}, reason=reason), model


def start_rollback(snapshot: Snapshot, dest: State) -> tuple[Run, Model]:
    """Deploy the last good version, above the generation of the deploy that failed."""
    cause = failure(snapshot)
    operator_request = snapshot.run.operator_request
    reason = (
        cause.reason
        if cause
        else f"cancelled by {operator_request.who}: {operator_request.why}"
        if operator_request
        else ""
    )
    live = cause.live_generation if cause else 0
    run, model = enter(snapshot, dest)
    generation = max(model.generation, live) + 1
    return (
        replace(
            run,
            generation=generation,
            target=champion(snapshot),
            reason=reason,
            fault=reason,
            condemned=cause is not None and cause.candidate,
        ),
        model.deployed_by(run.id, generation),
    )


# -- another attempt -------------------------------------------------------------------------------------------


def retry(snapshot: Snapshot, dest: State) -> tuple[Run, Model]:
    """A new attempt after a backoff; above the live generation if the last one was fenced."""
    run, model, cause = snapshot.run, snapshot.observed.model, failure(snapshot)
    assert run.stage is not None
    failures = run.failures + 1
    retry_at = snapshot.now + backoff(
        failures, snapshot.roll, snapshot.policy.backoff_base, snapshot.policy.backoff_cap
    )
    reason = cause.reason if cause else ""
    fresh = _attempt(snapshot, run, run.stage)
    again = replace(fresh, failures=failures, retry_at=retry_at, due_at=retry_at, reason=reason)
    if cause and cause.live_generation:
        generation = max(model.generation, cause.live_generation) + 1
        return replace(again, generation=generation), model.deployed_by(run.id, generation)
    return again, model


def stop(snapshot: Snapshot, dest: State) -> tuple[Run, Model]:
    """Record why this attempt is being stopped, because KFP will only report FAILED."""
    phase = "start" if snapshot.observed.started is None else "finish"
    late = f"it did not {phase} by its deadline ({snapshot.now - deadline(snapshot):.0f} s ago)"
    return replace(snapshot.run, stop=late, due_at=snapshot.now), snapshot.observed.model


# -- the end ---------------------------------------------------------------------------------------------------


def _end(snapshot: Snapshot, dest: State, reason: str = "") -> tuple[Run, Model]:
    run = _with_report(
        snapshot, replace(snapshot.run, state=dest, entered_at=snapshot.now, due_at=0.0, reason=reason, claim=None)
    )
    model = snapshot.observed.model
    if model.training == run.id:
        model = replace(model, training="")
    if model.deploying is not None and model.deploying.run_id == run.id:
        model = replace(model, deploying=None)
    return run, model


def finish(snapshot: Snapshot, dest: State) -> tuple[Run, Model]:
    """End because an operator cancelled, and free the slots."""
    operator_request = snapshot.run.operator_request
    return _end(
        snapshot, dest, f"cancelled by {operator_request.who}: {operator_request.why}" if operator_request else ""
    )


def reject(snapshot: Snapshot, dest: State) -> tuple[Run, Model]:
    """End because the stage refused."""
    return _end(snapshot, dest, snapshot.observed.report.reason if snapshot.observed.report else "")


def reject_by_gate(snapshot: Snapshot, dest: State) -> tuple[Run, Model]:
    """End because the gate failed, with every value and limit on record."""
    run, model = _end(snapshot, dest, verdict(snapshot).reason)
    return replace(run, verdict=_on_record(verdict(snapshot))), model


def reject_by_shadow(snapshot: Snapshot, dest: State) -> tuple[Run, Model]:
    """End because the candidate does not hold on the serving image, with every value and limit on record."""
    run, model = _end(snapshot, dest, shadowed(snapshot).reason)
    return replace(run, shadow=_on_record(shadowed(snapshot))), model


def disapprove(snapshot: Snapshot, dest: State) -> tuple[Run, Model]:
    """End because an operator rejected the candidate, or nobody approved it in time."""
    operator_request = snapshot.run.operator_request
    reason = (
        f"rejected by {operator_request.who}: {operator_request.why}"
        if operator_request
        else "too few persons approved it before the deadline"
        if snapshot.run.approvals
        else "nobody approved it before the deadline"
    )
    return _end(snapshot, dest, reason)


def reject_blocked(snapshot: Snapshot, dest: State) -> tuple[Run, Model]:
    """End because this content was rolled back before."""
    version = snapshot.observed.report.details.get("version") if snapshot.observed.report else ""
    return _end(snapshot, dest, f"{version} has the content of a version that was rolled back")


def fail(snapshot: Snapshot, dest: State) -> tuple[Run, Model]:
    """End because the stage failed permanently."""
    cause = failure(snapshot)
    reason = cause.reason if cause else ""
    attempt = f", attempt {snapshot.run.attempt}" if snapshot.run.attempt else ""
    run, model = _end(snapshot, dest, f"{snapshot.run.state.value.lower()}{attempt}: {reason}")
    # No model was trained, so the next nightly run must not be skipped even if no new object arrives.
    return run, replace(model, fingerprint="")


def hold(snapshot: Snapshot, dest: State) -> tuple[Run, Model]:
    """End without a verified version: put the model on hold. RestoreFailedAlarm fires."""
    run, model = fail(snapshot, dest)
    return run, replace(model, hold=Hold(OURSELVES, f"{run.id}: {run.reason}", snapshot.now))


def refuse_version(snapshot: Snapshot, dest: State) -> tuple[Run, Model]:
    """End with the last good version serving. A candidate that failed itself is blocked from automatic promotion."""
    run, model = _end(snapshot, dest, snapshot.run.fault)
    return run, _refuse(model, run.candidate) if snapshot.run.condemned else model


def _refuse(model: Model, version: str) -> Model:
    return replace(model, refused=tuple(dict.fromkeys((*model.refused, content_hash(version))))[-KEEP_REFUSED:])


def promote(snapshot: Snapshot, dest: State) -> tuple[Run, Model]:
    """Make the verified version the champion, in the transaction that ends the run."""
    run, model = _end(snapshot, dest)
    version = wanted_version(snapshot)
    known = model.release_of(version)
    release = Release(
        version=version,
        run_id=known.run_id if known else run.id,
        uri=known.uri if known else paths.version_folder(snapshot.policy.root, run.model, version),
        generation=run.generation,
        at=snapshot.now,
        metrics=known.metrics if known else dict(run.metrics),
    )
    former = tuple(old for old in (model.champion, *model.predecessors) if old and old.version != version)
    promoted = replace(
        model,
        champion=release,
        predecessors=former[: snapshot.policy.keep_versions],
        anchor=model.anchor or release,
        refused=tuple(bad for bad in model.refused if bad != content_hash(version)),
    )
    return run, _undo(promoted, model.champion) if run.kind is RunKind.RESTORE else promoted


def _undo(promoted: Model, replaced: Release | None) -> Model:
    """After an operator's rollback: block automatic promotion of the replaced version, end the controller's hold."""
    own_hold = promoted.hold is not None and promoted.hold.who == OURSELVES
    released = replace(promoted, hold=None) if own_hold else promoted
    changed = replaced is not None and promoted.champion is not None and replaced.version != promoted.champion.version
    return _refuse(released, replaced.version) if replaced and changed else released
