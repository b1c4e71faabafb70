"""What a move changes beside the state: pure functions from a case to the new run and model."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from statemachine.core.backoff import backoff
from statemachine.core.case import Case
from statemachine.core.failure import failure
from statemachine.core.guards import deadline, verdict
from statemachine.core.model import Hold, Model, Release, content_hash
from statemachine.core.proof import champion, wanted_version
from statemachine.core.run import Kind, Run, WishKind
from statemachine.core.states import Stage, State

KEEP_REFUSED = 50
OURSELVES = "fraudloop"  # who put a model on hold when a restore failed

Effect = Callable[[Case, State], tuple[Run, Model]]


def enter(case: Case, dest: State) -> tuple[Run, Model]:
    """Begin the next state with a clean attempt, whose number was never used before."""
    stage, run = dest.stage, case.run
    fresh = replace(
        run,
        state=dest,
        entered_at=case.now,
        due_at=case.now,
        failures=0,
        reason="",
        pins=run.pins or case.seen.pins,
        marked=False,
        wish=run.wish if run.asks(WishKind.CANCEL) else None,
    )
    return (_attempt(case, fresh, stage) if stage else _no_launch(fresh)), case.seen.model


def _attempt(case: Case, run: Run, stage: Stage) -> Run:
    """A name never used before; an evaluation notes which champion it will be measured against."""
    number = run.attempts.get(stage.value, 0) + 1
    rival = champion(case) if stage is Stage.EVALUATE else run.champion
    return replace(_no_launch(run), attempt=number, attempts={**run.attempts, stage.value: number}, champion=rival)


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
        misreport="",
        unseen=0,
    )


def carry(case: Case, dest: State) -> tuple[Run, Model]:
    """Keep what the stage reported, and begin the next one."""
    run, model = enter(case, dest)
    return _with_report(case, run), model


def _with_report(case: Case, run: Run) -> Run:
    report, stage = case.seen.report, case.run.stage
    if report is None or stage is None:
        return run
    return replace(
        run,
        outputs={**run.outputs, stage.value: dict(report.outputs)},
        metrics={**run.metrics, **report.metrics},
    )


def judge(case: Case, dest: State) -> tuple[Run, Model]:
    """Keep the verdict."""
    run, model = carry(case, dest)
    return replace(run, verdict=_plain(asdict(verdict(case)))), model


def _plain(value: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: list(part) if isinstance(part, tuple) else part for key, part in value.items()}


def take_slot(case: Case, dest: State) -> tuple[Run, Model]:
    """Take the deploying slot under a new generation, which fences whoever still deploys under an older one."""
    run, model = carry(case, dest)
    generation = model.generation + 1
    version = case.seen.report.details.get("version", "") if case.seen.report else ""
    return (
        replace(run, generation=generation, candidate=str(version) or run.candidate),
        model.deployed_by(run.id, generation),
    )


def roll_back(case: Case, dest: State) -> tuple[Run, Model]:
    """Deploy the last good version, above the generation of the deploy that failed."""
    trouble = failure(case)
    wish = case.run.wish
    reason = trouble.reason if trouble else f"cancelled by {wish.who}: {wish.why}" if wish else ""
    live = trouble.live_generation if trouble else 0
    run, model = enter(case, dest)
    generation = max(model.generation, live) + 1
    return (
        replace(run, generation=generation, target=champion(case), reason=reason, fault=reason),
        model.deployed_by(run.id, generation),
    )


# -- another attempt -------------------------------------------------------------------------------------------


def retry(case: Case, dest: State) -> tuple[Run, Model]:
    """A new attempt under a new name, after a while; above the live generation if the last one was fenced."""
    run, model, trouble = case.run, case.seen.model, failure(case)
    assert run.stage is not None
    failures = run.failures + 1
    retry_at = case.now + backoff(failures, case.roll, case.policy.backoff_base, case.policy.backoff_cap)
    reason = trouble.reason if trouble else ""
    fresh = _attempt(case, run, run.stage)
    again = replace(fresh, failures=failures, retry_at=retry_at, due_at=retry_at, reason=reason)
    if trouble and trouble.live_generation:
        generation = max(model.generation, trouble.live_generation) + 1
        return replace(again, generation=generation), model.deployed_by(run.id, generation)
    return again, model


def stop(case: Case, dest: State) -> tuple[Run, Model]:
    """Put on record that this attempt is to be stopped, and why; KFP will only say FAILED."""
    phase = "start" if case.seen.started is None else "finish"
    late = f"it did not {phase} by its deadline ({case.now - deadline(case):.0f} s ago)"
    return replace(case.run, stop=late, due_at=case.now), case.seen.model


# -- the end ---------------------------------------------------------------------------------------------------


def _rest(case: Case, dest: State, reason: str = "") -> tuple[Run, Model]:
    run = _with_report(case, replace(case.run, state=dest, entered_at=case.now, due_at=0.0, reason=reason, claim=None))
    model = case.seen.model
    if model.training == run.id:
        model = replace(model, training="")
    if model.deploying is not None and model.deploying.run_id == run.id:
        model = replace(model, deploying=None)
    return run, model


def rest(case: Case, dest: State) -> tuple[Run, Model]:
    """End because a person asked, and give back the slots."""
    wish = case.run.wish
    return _rest(case, dest, f"cancelled by {wish.who}: {wish.why}" if wish else "")


def reject(case: Case, dest: State) -> tuple[Run, Model]:
    """End because the stage judged no."""
    return _rest(case, dest, case.seen.report.reason if case.seen.report else "")


def judge_no(case: Case, dest: State) -> tuple[Run, Model]:
    """End because the gate said no, with every figure and limit on record."""
    run, model = _rest(case, dest, verdict(case).reason)
    return replace(run, verdict=_plain(asdict(verdict(case)))), model


def disapprove(case: Case, dest: State) -> tuple[Run, Model]:
    """End because a person said no, or nobody said yes in time."""
    wish = case.run.wish
    said = f"rejected by {wish.who}: {wish.why}" if wish else "nobody approved it before the deadline"
    return _rest(case, dest, said)


def reject_again(case: Case, dest: State) -> tuple[Run, Model]:
    """End because this very content was rolled back before."""
    version = case.seen.report.details.get("version") if case.seen.report else ""
    return _rest(case, dest, f"{version} has the content of a version that was rolled back")


def fail(case: Case, dest: State) -> tuple[Run, Model]:
    """End because the stage failed for good."""
    trouble = failure(case)
    reason = trouble.reason if trouble else ""
    run, model = _rest(case, dest, f"{case.run.state.value.lower()}, attempt {case.run.attempt}: {reason}")
    # The data was not learned from, so the next night has something to do even if nothing new comes.
    return run, replace(model, fingerprint="")


def hold(case: Case, dest: State) -> tuple[Run, Model]:
    """End with nothing known to serve: put the model on hold, so that nothing makes it worse. The loudest alarm."""
    run, model = fail(case, dest)
    return run, replace(model, hold=Hold(OURSELVES, f"{run.id}: {run.reason}", case.now))


def refuse_version(case: Case, dest: State) -> tuple[Run, Model]:
    """End with the last good version serving; the content of the bad one is not promoted again by itself."""
    run, model = _rest(case, dest, case.run.fault)
    return run, _refuse(model, run.candidate)


def _refuse(model: Model, version: str) -> Model:
    return replace(model, refused=tuple(dict.fromkeys((*model.refused, content_hash(version))))[-KEEP_REFUSED:])


def crown(case: Case, dest: State) -> tuple[Run, Model]:
    """After the proof, and only then: the version becomes the champion, in the same transaction."""
    run, model = _rest(case, dest)
    version = wanted_version(case)
    known = model.release_of(version)
    release = Release(
        version=version,
        run_id=known.run_id if known else run.id,
        uri=known.uri if known else f"{case.policy.root}/models/{run.model}/{version}",
        generation=run.generation,
        at=case.now,
        metrics=known.metrics if known else dict(run.metrics),
    )
    former = tuple(old for old in (model.champion, *model.predecessors) if old and old.version != version)
    crowned = replace(
        model,
        champion=release,
        predecessors=former[: case.policy.keep_versions],
        anchor=model.anchor or release,
        refused=tuple(bad for bad in model.refused if bad != content_hash(version)),
    )
    return run, _undo(crowned, model.champion) if run.kind is Kind.RESTORE else crowned


def _undo(crowned: Model, left: Release | None) -> Model:
    """A person went back: what they left is not promoted again by itself, and our own hold has done its work."""
    ours = crowned.hold is not None and crowned.hold.who == OURSELVES
    freed = replace(crowned, hold=None) if ours else crowned
    turned = left is not None and crowned.champion is not None and left.version != crowned.champion.version
    return _refuse(freed, left.version) if left and turned else freed
