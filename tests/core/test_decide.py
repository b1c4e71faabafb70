"""`decide` for any case at all: pure, total, never two things at once, and never an end that is not one."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulation.memory.cases import NOW, OLD, approved_by, done, kfp_run, operator_request, snapshot
from simulation.memory.stages import failed, honest, refused
from simulation.memory.strategies import cases
from statemachine.contracts.kfp_run import KfpRunState
from statemachine.contracts.stage import Stage
from statemachine.core import codec
from statemachine.core.actions import EnsureRun, MarkObjects, StopRuns, WriteManifest
from statemachine.core.decide import Act, Decision, Look, Move, Rest, Wait, decide
from statemachine.core.model import Deploying
from statemachine.core.request_builder import build_request
from statemachine.core.run import RequestKind, RunKind
from statemachine.core.snapshot import Snapshot
from statemachine.core.states import ACTIVE, TERMINAL, State
from statemachine.core.table import TABLE

S = State
STATES = st.sampled_from(State)
ROWS = {(row.source, row.dest, row.reason) for row in TABLE}


def decided(about: Snapshot) -> Decision:
    return decide(about.run, about.observed, about.policy, about.now, about.roll)


@given(cases())
@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_it_is_total_and_pure(about: Snapshot) -> None:
    """Whatever the world says there is a decision, and asked again it is the same."""
    assert isinstance(decided(about), Move | Act | Look | Wait | Rest)
    assert decided(about) == decided(about)


@given(cases(st.sampled_from(sorted(TERMINAL, key=lambda state: state.value))))
@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_terminal_is_final(about: Snapshot) -> None:
    """No request, report or deadline moves a terminal run."""
    assert decided(about) == Rest()


@given(cases(st.sampled_from(ACTIVE)))
@settings(max_examples=500, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_what_any_move_holds_to(about: Snapshot) -> None:
    """Each rule below, for each move that any case at all leads to."""
    move = decided(about)
    if isinstance(move, Move):
        for rule in (it_goes_by_the_table, it_ends_nothing_that_works, it_promotes_by_proof, it_keeps_slots):
            rule(about, move)


def it_goes_by_the_table(about: Snapshot, move: Move) -> None:
    """A row of the table; the version grows; it can be written to the table and read again."""
    before, after = about.run, move.run
    assert (before.state, after.state, move.entry.reason) in ROWS
    assert (after.version, after.claim, after.id) == (before.version + 1, None, before.id)
    assert codec.loads(type(after), codec.dumps(after)) == after
    assert all(after.attempts[stage] >= number for stage, number in before.attempts.items())
    assert move.model.generation >= about.observed.model.generation


def it_ends_nothing_that_works(about: Snapshot, move: Move) -> None:
    """Rest, and another attempt of a stage, come only once every launch is seen over and none can still appear.

    But for what KFP has not ended for longer than `cancel_deadline`, and for a run that never asked for a launch.
    """
    run, never = about.run, about.run.deployment and not about.run.launch_ids
    if run.attempts and not never and (move.run.state.terminal or move.run.failures > run.failures):
        assert about.observed.duplicates is not None
        assert about.now >= run.create_uncertain_until
        reporter = run.launch_id if about.observed.report else None
        late = run.stopping_since and about.now >= run.stopping_since + about.policy.cancel_deadline
        given_up = (KfpRunState.CANCELING, KfpRunState.UNKNOWN) if late else ()
        assert all(s.state.over or s.launch_id == reporter or s.state in given_up for s in about.observed.duplicates)


def it_promotes_by_proof(about: Snapshot, move: Move) -> None:
    """A new champion means: every pod answered with that version, under our generation."""
    if move.model.champion != about.observed.model.champion:
        report = about.observed.report
        assert move.model.champion is not None
        assert report is not None
        assert report.details["served"]
        assert {pod["version"] for pod in report.details["served"]} == {move.model.champion.version}
        assert report.details["generation"] == about.run.generation
        assert not report.finished_at or about.now - report.finished_at <= about.policy.proof_age


def it_keeps_slots(about: Snapshot, move: Move) -> None:
    """A terminal run holds no slot; other holders keep theirs."""
    before, after = about.observed.model, move.model
    if move.run.state.terminal:
        assert after.training != move.run.id
        assert after.deploying is None or after.deploying.run_id != move.run.id
    if before.training not in ("", move.run.id):
        assert after.training == before.training


@pytest.mark.parametrize("state", ACTIVE, ids=lambda state: state.value)
def test_a_run_that_nobody_answers_ends_by_deadlines_alone(state: State) -> None:
    """KFP reports RUNNING forever and ends only what it is asked to stop; the run ends all the same."""
    about = snapshot(state, started=None, of_run={"target": OLD})
    for _ in range(400):
        decision = decided(about)
        match decision:
            case Rest():
                return
            case Move():
                stage = decision.run.stage
                running = replace(decision.run, kfp_id="kfp-1" if stage else "", launched_at=about.now)
                observed = replace(about.observed, model=decision.model, kfp_run=kfp_run(), duplicates=(kfp_run(),))
                about = replace(about, run=running, observed=observed)
            case Act(action=StopRuns()):
                over = (kfp_run(KfpRunState.FAILED),)
                about = replace(about, observed=replace(about.observed, duplicates=over, kfp_run=over[0]))
            case Wait(until=until):
                about = replace(about, now=max(until, about.now + 1))
            case _:
                raise AssertionError(decision)
    if state is S.QUEUED:
        return
    raise AssertionError(f"still {about.run.state}")


@pytest.mark.parametrize("state", [s for s in ACTIVE if s is not S.ROLLING_BACK], ids=lambda state: state.value)
def test_a_cancelled_run_ends(state: State) -> None:
    """From each state that can be cancelled: CANCELLED, by way of ROLLING_BACK if it was deploying."""
    about = snapshot(state, of_run={"operator_request": operator_request(RequestKind.CANCEL)})
    move = decided(about)
    assert isinstance(move, Move)
    if state is not S.DEPLOYING:
        assert move.run.state is S.CANCELLED
        return
    back = replace(move.run, kfp_id="kfp-2", launch_id="L2")
    asked = build_request(Snapshot(back, replace(about.observed, model=move.model), about.policy, NOW))
    observed = replace(about.observed, model=move.model, report=honest(asked))
    end = decide(back, observed, about.policy, NOW)
    assert isinstance(end, Move)
    assert (end.run.state, end.model.champion) == (S.CANCELLED, about.observed.model.champion)


# -- duties: what a state asks of the world, whatever edge led there ------------------------------------------------


def test_a_queued_run_writes_its_manifest_first() -> None:
    """Before anything else; a restore has no data and so no manifest."""
    assert decided(snapshot(S.QUEUED, of_run={"manifest": ""})) == Act(WriteManifest())
    restore = snapshot(S.QUEUED, of_run={"manifest": "", "kind": RunKind.RESTORE, "pins": {}}, missing="not published")
    assert isinstance(decided(restore), Wait)


def test_a_pipeline_that_is_not_published_is_a_clear_reason_to_wait() -> None:
    """QUEUED, with the reason for people."""
    waiting = decided(snapshot(S.QUEUED, of_run={"pins": {}}, missing="not published: fraudloop-train"))
    assert waiting == Wait(NOW + 60, "not published: fraudloop-train")


@pytest.mark.parametrize("state", [s for s in ACTIVE if s.stage], ids=lambda state: state.value)
def test_a_state_without_a_launch_ensures_one(state: State) -> None:
    """The order is the same on each pass, so a crash between saved and done loses nothing."""
    about = snapshot(state, of_run={"kfp_id": "", "launch_id": ""}, kfp_run=None)
    act = decided(about)
    assert isinstance(act, Act)
    assert isinstance(act.action, EnsureRun)
    assert act.action.order.name == f"fraud-7.{state.stage.value}.1"  # type: ignore[union-attr]
    assert decided(about) == act


def test_a_retry_waits_for_its_backoff() -> None:
    """No launch before `retry_at`."""
    about = snapshot(S.TRAINING, of_run={"kfp_id": "", "retry_at": NOW + 20}, kfp_run=None)
    assert decided(about) == Wait(NOW + 20)


def test_verdicts_are_put_on_record_before_the_run_goes_on() -> None:
    """Accepted or refused, each object's fate is written first."""
    for play in (honest, lambda order: refused(order, "no", {"objects": "s3://artifacts/o"})):
        act = decided(snapshot(S.PREPROCESSING, play, of_run={"marked": False}))
        assert isinstance(act, Act)
        assert isinstance(act.action, MarkObjects)


def test_before_rest_launches_are_looked_for_then_stopped_then_awaited() -> None:
    """Look, stop those that can be stopped, wait for those that are being stopped, only then move."""
    about = snapshot(S.TRAINING, of_run={"operator_request": operator_request(RequestKind.CANCEL)}, duplicates=None)
    assert decided(about) == Look()
    running, ending = kfp_run(), kfp_run(KfpRunState.CANCELING, "kfp-2", "L2")
    listed = replace(about, observed=replace(about.observed, duplicates=(running, ending)))
    assert decided(listed) == Act(StopRuns(("kfp-1",)))
    stopping = replace(about, observed=replace(about.observed, duplicates=(ending,)))
    assert decided(stopping) == Wait(NOW + 10, "waiting for earlier launches to end", {"stopping_since": NOW})
    over = replace(about, observed=replace(about.observed, duplicates=(kfp_run(KfpRunState.FAILED),)))
    assert isinstance(decided(over), Move)


def test_the_launch_that_reported_need_not_be_seen_to_end() -> None:
    """A launch that reported needs no stop; its duplicate does."""
    about = done(S.DEPLOYING, duplicates=(kfp_run(),))
    assert isinstance(decided(about), Move)
    duplicated = done(S.DEPLOYING, duplicates=(kfp_run(), kfp_run(KfpRunState.RUNNING, "kfp-2", "L2")))
    assert decided(duplicated) == Act(StopRuns(("kfp-2",)))


def test_waiting_wakes_at_the_next_thing_that_time_alone_brings() -> None:
    """The poll, the deadline, the approval's deadline: whichever comes first."""
    assert decided(snapshot(S.TRAINING)) == Wait(NOW + 60)
    near = snapshot(S.TRAINING, started=NOW - 3590)
    assert decided(near) == Wait(NOW + 10)
    assert decided(snapshot(S.AWAITING_APPROVAL)) == Wait(NOW - 60 + 172_800)


def test_a_release_waits_while_another_deploys_or_the_model_is_held() -> None:
    """Tried, but the slot is taken: nothing is lost, the run waits with its version."""
    taken = done(S.SHADOWING, of_model={"deploying": Deploying("fraud-rollback-9", 9)})
    assert isinstance(decided(taken), Wait)


def test_an_approved_run_that_may_not_deploy_yet_looks_again_soon() -> None:
    """The slot is taken: it does not sleep until the approval's deadline."""
    taken = approved_by("ann", of_model={"deploying": Deploying("fraud-rollback-9", 9)})
    assert decided(taken) == Wait(NOW + 60)


def test_a_failure_that_is_permanent_is_never_retried() -> None:
    """One attempt, FAILED."""
    move = decided(snapshot(S.TRAINING, lambda o: failed(o, "a bug", permanent=True)))
    assert isinstance(move, Move)
    assert move.run.state is S.FAILED


def test_every_stage_has_a_state() -> None:
    """And every working state a stage of its own."""
    assert {state.stage for state in State if state.stage} == set(Stage)
