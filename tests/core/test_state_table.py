"""Every row of the table is fired by a case written by hand; a new row without one fails here."""

from dataclasses import replace
from typing import Any

import pytest

from simulation.memory.cases import (
    NEW,
    NOW,
    OLD,
    OTHER,
    approved_by,
    done,
    kfp_run,
    model,
    operator_request,
    release,
    run,
    snapshot,
)
from simulation.memory.stages import failed, measured, ok, refused, replayed
from statemachine.contracts.gate import GatePolicy
from statemachine.contracts.kfp_run import KfpRunState
from statemachine.contracts.report import Report
from statemachine.contracts.shadow import ShadowPolicy
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from statemachine.core.decide import Move, decide, fire
from statemachine.core.model import Deploying, Hold, Model, Release
from statemachine.core.reason import TransitionReason
from statemachine.core.run import RequestKind, Run, RunKind, Trigger
from statemachine.core.snapshot import Snapshot
from statemachine.core.states import ACTIVE, TERMINAL, WORKING, State
from statemachine.core.table import TABLE, Row

S = State
LIVE, UNSHADOWED = {"live": True}, {"shadow": ShadowPolicy(enabled=False)}
APPROVAL = {"require_approval": True}
CANCEL = {"operator_request": operator_request(RequestKind.CANCEL)}


def gone_wrong(order: StageRequest) -> Report:
    return failed(order, "no such column", permanent=True)


def evicted(order: StageRequest) -> Report:
    return failed(order, "evicted")


def refusal(order: StageRequest) -> Report:
    return refused(order, "nothing new was accepted")


def too_weak(order: StageRequest) -> Report:
    return ok(order, {"evaluation": measured(order, auc=0.85)}, {"evaluation": "s3://artifacts/evaluation"})


def does_not_load(order: StageRequest) -> Report:
    figures = replayed(order, error="no module named valkey")
    return ok(order, {"shadow": figures}, {"shadow": "s3://artifacts/shadow.json"})


def begun(kind: RunKind = RunKind.TRAINING, at: Stage = Stage.PREPROCESS, **more: Any) -> Snapshot:
    return snapshot(S.QUEUED, of_run={"kind": kind, "start_at": at, "target": OTHER, **more})


def elsewhere(state: State, play: Any = None, **more: Any) -> Snapshot:
    """The champion changed while the run was in `state`."""
    return snapshot(state, play, of_run={"champion": OTHER, **more})


# source, dest, guard → the case that fires the row
CASES: dict[tuple[State, State, str], Snapshot] = {
    (S.QUEUED, S.CANCELLED, "cancelled"): snapshot(S.QUEUED, of_run=CANCEL),
    (S.QUEUED, S.FAILED, "failed"): snapshot(S.QUEUED, of_run={"report_error": "its manifest cannot be written"}),
    (S.QUEUED, S.ROLLING_BACK, "to_restore"): begun(RunKind.RESTORE),
    (S.QUEUED, S.PREPROCESSING, "from_preprocess"): begun(),
    (S.QUEUED, S.MATERIALISING, "from_materialise"): replace(
        begun(at=Stage.MATERIALISE), policy=replace(begun().policy, live=True)
    ),
    (S.QUEUED, S.TRAINING, "from_train"): begun(at=Stage.TRAIN),
    (S.QUEUED, S.EVALUATING, "from_evaluate"): begun(at=Stage.EVALUATE),
    (S.QUEUED, S.EXPORTING, "from_export"): begun(at=Stage.EXPORT),
    (S.QUEUED, S.SHADOWING, "from_shadow"): begun(at=Stage.SHADOW),
    (S.PREPROCESSING, S.CANCELLED, "cancelled"): snapshot(S.PREPROCESSING, of_run=CANCEL),
    (S.PREPROCESSING, S.MATERIALISING, "preprocessed_for_live"): done(S.PREPROCESSING, of_policy=LIVE),
    (S.PREPROCESSING, S.TRAINING, "preprocessed"): done(S.PREPROCESSING),
    (S.PREPROCESSING, S.REJECTED, "refused_data"): snapshot(S.PREPROCESSING, refusal),
    (S.MATERIALISING, S.CANCELLED, "cancelled"): snapshot(S.MATERIALISING, of_run=CANCEL),
    (S.MATERIALISING, S.TRAINING, "reported"): done(S.MATERIALISING),
    (S.TRAINING, S.CANCELLED, "cancelled"): snapshot(S.TRAINING, of_run=CANCEL),
    (S.TRAINING, S.EVALUATING, "reported"): done(S.TRAINING),
    (S.TRAINING, S.REJECTED, "refused"): snapshot(S.TRAINING, refusal),
    (S.EVALUATING, S.CANCELLED, "cancelled"): snapshot(S.EVALUATING, of_run=CANCEL),
    (S.EVALUATING, S.EVALUATING, "outdated"): elsewhere(S.EVALUATING, too_weak),
    (S.EVALUATING, S.REJECTED, "failed_gate"): snapshot(S.EVALUATING, too_weak),
    (S.EVALUATING, S.REJECTED, "refused"): snapshot(S.EVALUATING, refusal),
    (S.EVALUATING, S.EXPORTING, "passed"): done(S.EVALUATING),
    (S.AWAITING_APPROVAL, S.CANCELLED, "cancelled"): snapshot(S.AWAITING_APPROVAL, of_run=CANCEL),
    (S.AWAITING_APPROVAL, S.REJECTED, "disapproved"): snapshot(
        S.AWAITING_APPROVAL, of_run={"operator_request": operator_request(RequestKind.REJECT)}
    ),
    (S.AWAITING_APPROVAL, S.EXPORTING, "not_exported"): snapshot(S.AWAITING_APPROVAL, of_run={"candidate": ""}),
    (S.AWAITING_APPROVAL, S.EVALUATING, "approved_anew"): approved_by("ann", of_run={"champion": OTHER}),
    (S.AWAITING_APPROVAL, S.DEPLOYING, "approved"): approved_by("ann"),
    (S.EXPORTING, S.CANCELLED, "cancelled"): snapshot(S.EXPORTING, of_run=CANCEL),
    (S.EXPORTING, S.REJECTED, "exported_refused"): snapshot(
        S.EXPORTING,
        lambda order: ok(order, {"version": NEW}, {"repository": "s3://artifacts/x"}),
        of_model={"refused": ("00000007",)},
    ),
    (S.EXPORTING, S.EVALUATING, "exported_outdated"): elsewhere(
        S.EXPORTING, lambda order: ok(order, {"version": NEW}, {"repository": "s3://artifacts/x"})
    ),
    (S.EXPORTING, S.SHADOWING, "exported_for_shadow"): done(S.EXPORTING),
    (S.EXPORTING, S.AWAITING_APPROVAL, "exported_for_approval"): done(S.EXPORTING, of_policy=UNSHADOWED | APPROVAL),
    (S.EXPORTING, S.DEPLOYING, "exported"): done(S.EXPORTING, of_policy=UNSHADOWED),
    (S.SHADOWING, S.CANCELLED, "cancelled"): snapshot(S.SHADOWING, of_run=CANCEL),
    (S.SHADOWING, S.EVALUATING, "shadow_outdated"): elsewhere(S.SHADOWING, does_not_load),
    (S.SHADOWING, S.REJECTED, "failed_shadow"): snapshot(S.SHADOWING, does_not_load),
    (S.SHADOWING, S.AWAITING_APPROVAL, "passed_shadow_for_approval"): done(S.SHADOWING, of_policy=APPROVAL),
    (S.SHADOWING, S.DEPLOYING, "passed_shadow"): done(S.SHADOWING),
    (S.DEPLOYING, S.SUCCEEDED, "proven"): done(S.DEPLOYING),
    (S.DEPLOYING, S.ROLLING_BACK, "failed_with_champion"): snapshot(S.DEPLOYING, gone_wrong),
    (S.DEPLOYING, S.CANCELLED, "cancelled"): snapshot(S.DEPLOYING, of_run=CANCEL, of_model={"champion": None}),
    (S.ROLLING_BACK, S.CANCELLED, "restored_for_cancel"): done(S.ROLLING_BACK, of_run={"target": OLD, **CANCEL}),
    (S.ROLLING_BACK, S.ROLLED_BACK, "restored"): done(S.ROLLING_BACK, of_run={"target": OLD}),
    (S.ROLLING_BACK, S.SUCCEEDED, "restored_on_demand"): done(
        S.ROLLING_BACK, of_run={"kind": RunKind.RESTORE, "target": OTHER}
    ),
    (S.ROLLING_BACK, S.FAILED, "failed"): snapshot(S.ROLLING_BACK, gone_wrong),
    **{
        (state, S.FAILED, "failed"): snapshot(state, gone_wrong, of_model={"champion": None})
        for state in WORKING
        if state is not S.ROLLING_BACK
    },
    **{(state, state, "retryable_failure"): snapshot(state, evicted) for state in WORKING},
    **{(state, state, "overdue"): snapshot(state, now=NOW + 100_000) for state in WORKING},
}
# Shadowed on purpose: the row of all working states stands below ROLLING_BACK's own, which also puts the model on hold.
SHADOWED = {(S.ROLLING_BACK, S.FAILED, "fail")}


def key(row: Row) -> tuple[State, State, str]:
    return row.source, row.dest, row.name


def first(wanted: tuple[State, State, str]) -> Row:
    return next(row for row in TABLE if key(row) == wanted)


def test_every_row_has_a_case_and_every_case_a_row() -> None:
    """A row that nobody fires by hand is a row that nobody thought through."""
    assert {key(row) for row in TABLE} == set(CASES)


def test_the_only_shadowed_row_is_the_known_one() -> None:
    """Two rows of one source with the same guard: the lower one can never fire, so it must be on purpose."""
    observed: set[tuple[State, str]] = set()
    shadowed = set()
    for row in TABLE:
        if (row.source, row.name) in observed:
            shadowed.add((row.source, row.dest, row.effect.__name__))
        observed.add((row.source, row.name))
    assert shadowed == SHADOWED


@pytest.mark.parametrize("wanted", CASES, ids=lambda wanted: "-".join(getattr(p, "value", p) for p in wanted))
def test_the_case_fires_its_row(wanted: tuple[State, State, str]) -> None:
    """The row, and none above it, is what `transitions` fires."""
    assert fire(CASES[wanted]) == first(wanted)


@pytest.mark.parametrize("wanted", CASES, ids=lambda wanted: "-".join(getattr(p, "value", p) for p in wanted))
def test_a_fired_row_becomes_one_move(wanted: tuple[State, State, str]) -> None:
    """A move bumps the version, drops the claim, tells one line of history, and goes where the row says."""
    given = CASES[wanted]
    move = decide(given.run, given.observed, given.policy, given.now)
    assert isinstance(move, Move)
    assert (move.run.state, move.run.version, move.run.claim) == (wanted[1], given.run.version + 1, None)
    written = (move.entry.source, move.entry.dest, move.entry.reason, move.entry.version)
    reason = TransitionReason[wanted[2].upper()]
    assert written == (wanted[0].value, wanted[1].value, reason, move.run.version)


@pytest.mark.parametrize(
    "wanted",
    [k for k in CASES if first(k).requires_drain and k[0].stage],
    ids=lambda k: "-".join(getattr(p, "value", p) for p in k),
)
def test_a_row_that_settles_waits_for_every_launch(wanted: tuple[State, State, str]) -> None:
    """Nothing ends or is tried again while an earlier attempt may still be working."""
    given = CASES[wanted]
    duplicate = kfp_run(KfpRunState.CANCELING, "kfp-9", "L9")
    for observed in (replace(given.observed, duplicates=None), replace(given.observed, duplicates=(duplicate,))):
        assert not isinstance(decide(given.run, observed, given.policy, given.now), Move)
    create_uncertain = replace(given.run, create_uncertain_until=given.now + 1)
    assert not isinstance(decide(create_uncertain, given.observed, given.policy, given.now), Move)


@pytest.mark.parametrize("state", [s for s in State if s.terminal], ids=lambda state: state.value)
def test_no_row_leads_out_of_a_state_of_rest(state: State) -> None:
    """Terminal is final."""
    assert not [row for row in TABLE if row.source is state]


@pytest.mark.parametrize("state", ACTIVE, ids=lambda state: state.value)
def test_every_active_state_can_end(state: State) -> None:
    """From each active state some path leads to an end, and an operator can cancel unless it is rolling back."""
    reached, edge = {state}, {state}
    while edge:
        edge = {row.dest for row in TABLE if row.source in edge} - reached
        reached |= edge
    assert reached & TERMINAL
    assert state is S.ROLLING_BACK or any(row.source is state and row.name == "cancelled" for row in TABLE)


# -- effects: what a move changes beside the state ---------------------------------------------------------------


def moved(given: Snapshot) -> tuple[Run, Model]:
    move = decide(given.run, given.observed, given.policy, given.now)
    assert isinstance(move, Move), move
    return move.run, move.model


def test_a_stage_begins_clean_under_a_number_never_used() -> None:
    """The next state has no launch, no failures, and an attempt of its own."""
    after, _ = moved(done(S.TRAINING, of_run={"attempts": {"train": 2, "evaluate": 4}, "failures": 2}))
    assert (after.attempt, after.attempts, after.kfp_id, after.failures) == (5, {"train": 2, "evaluate": 5}, "", 0)
    assert after.outputs["train"]["model"].uri.endswith("/model")


def test_evaluation_notes_its_rival_when_it_begins() -> None:
    """The champion of the moment is on record, and is what the evaluation must compare with."""
    after, _ = moved(done(S.TRAINING, of_run={"champion": ""}))
    assert after.champion == OLD


def test_an_evaluation_against_another_version_fails_the_gate() -> None:
    """A report that compares with anything but the requested champion fails the gate, and does not loop."""

    def lies(order: StageRequest) -> Report:
        evaluation = {**measured(order), "champion": None}
        return ok(order, {"evaluation": evaluation}, {"evaluation": "s3://artifacts/e"})

    after, _ = moved(snapshot(S.EVALUATING, lies))
    assert after.state is S.REJECTED
    assert OLD in after.reason


def test_the_champion_changes_only_with_the_proof() -> None:
    """SUCCEEDED writes run, champion, predecessor and slots in one move."""
    after, item = moved(done(S.DEPLOYING))
    assert isinstance(item.champion, Release)
    assert (item.champion.version, item.champion.run_id, item.predecessors[0].version) == (NEW, "fraud-7", OLD)
    assert (item.training, item.deploying, item.champion.generation) == ("", None, after.generation)
    assert item.anchor is not None
    assert item.anchor.version == OLD


def test_taking_the_slot_changes_no_champion() -> None:
    """From SHADOWING to DEPLOYING: the slot and the generation are taken, and OLD serves on."""
    after, item = moved(done(S.SHADOWING))
    assert (item.champion, item.deploying, after.generation) == (release(OLD), Deploying("fraud-7", 5), 5)


@pytest.mark.parametrize(
    "details",
    [
        {"served": [], "generation": 4},
        {"served": [{"pod": "a", "version": NEW}, {"pod": "b", "version": OLD}], "generation": 4},
        {"served": [{"pod": "a", "version": NEW}], "generation": 3},
        {"served": [{"pod": "a", "version": NEW}]},
        {"served": "all of them", "generation": 4},
        {"served": ["triton-0"], "generation": 4},
        {},
    ],
)
def test_a_deploy_without_proof_is_rolled_back(details: dict[str, Any]) -> None:
    """Every pod must have answered with our version under our generation; a report that claims less is a failure."""
    after, item = moved(snapshot(S.DEPLOYING, lambda order: ok(order, details)))
    assert after.state is S.ROLLING_BACK
    assert item.champion == release(OLD)


def test_rolling_back_takes_a_higher_generation_and_keeps_the_reason() -> None:
    """The deploy that failed is fenced, and ROLLED_BACK says in the end why."""
    after, item = moved(snapshot(S.DEPLOYING, gone_wrong))
    assert (after.generation, item.generation, item.deploying) == (5, 5, Deploying("fraud-7", 5))
    assert (after.target, after.fault) == (OLD, "no such column")
    over, _ = moved(done(S.ROLLING_BACK, of_run={"target": OLD, "fault": "no such column"}))
    assert over.reason == "no such column"


def test_a_content_that_was_rolled_back_is_refused_from_then_on() -> None:
    """The next nightly run must not promote it again; an operator's redrive may."""
    _, item = moved(done(S.ROLLING_BACK, of_run={"target": OLD, "condemned": True}))
    assert item.refused == ("00000007",)
    again = CASES[S.EXPORTING, S.REJECTED, "exported_refused"]
    by_a_person = replace(again, run=replace(again.run, trigger=Trigger("redrive", "ann")))
    assert moved(by_a_person)[0].state is S.SHADOWING


def test_an_outage_condemns_no_candidate() -> None:
    """The candidate was not tested: the deploy was evicted, or Argo CD did not answer. The next run may deploy it."""
    observed = {"condition": "CrashLoopBackOff"}
    bad = snapshot(S.DEPLOYING, lambda o: failed(o, "it does not load", permanent=True, details=observed))
    unreachable_count = snapshot(S.DEPLOYING, lambda o: failed(o, "no service account", permanent=True))
    evicted = snapshot(S.DEPLOYING, lambda o: failed(o, "evicted", details=observed), of_run={"failures": 2})
    assert [moved(one)[0].condemned for one in (bad, unreachable_count, evicted)] == [True, False, False]
    _, item = moved(done(S.ROLLING_BACK, of_run={"target": OLD, "condemned": False}))
    assert item.refused == ()


def test_what_a_person_left_is_refused_and_what_they_chose_is_not() -> None:
    """`rollback --to` keeps the next run from promoting the replaced version again."""
    given = done(
        S.ROLLING_BACK,
        of_run={"kind": RunKind.RESTORE, "target": OTHER},
        of_model={"refused": ("00000005", "0000000a")},
    )
    _, item = moved(given)
    assert item.champion is not None
    assert (item.champion.version, item.refused) == (OTHER, ("0000000a", "00000006"))


def test_a_restore_that_fails_puts_the_model_on_hold() -> None:
    """FAILED, and nothing trains or is promoted until somebody looks."""
    after, item = moved(CASES[S.ROLLING_BACK, S.FAILED, "failed"])
    assert item.hold is not None
    assert (after.state, item.hold.who, item.deploying) == (S.FAILED, "fraudloop", None)


def test_a_rollback_on_demand_ends_our_own_hold_but_no_persons() -> None:
    """What we held because a restore failed is free once a restore is proven; what Ann held stays held."""
    for who, held in (("fraudloop", False), ("ann", True)):
        given = done(
            S.ROLLING_BACK,
            of_run={"kind": RunKind.RESTORE, "target": OTHER},
            of_model={"hold": Hold(who, "because", NOW)},
        )
        assert bool(moved(given)[1].hold) is held


def test_the_first_deploy_that_fails_has_nothing_to_return_to() -> None:
    """FAILED, without a hold: nothing served before either."""
    after, item = moved(snapshot(S.DEPLOYING, gone_wrong, of_model={"champion": None}))
    assert (after.state, item.hold, item.champion) == (S.FAILED, None, None)


def test_a_fenced_deploy_goes_on_above_the_live_generation() -> None:
    """Somebody deployed under a higher generation than ours: the retry takes the one above it."""
    given = snapshot(S.DEPLOYING, lambda order: failed(order, "fenced", details={"live_generation": 11}))
    after, item = moved(given)
    assert (after.state, after.generation, item.generation, item.deploying) == (
        S.DEPLOYING,
        12,
        12,
        Deploying("fraud-7", 12),
    )


def test_a_retry_waits_under_a_new_name() -> None:
    """Attempt 2 after the backoff (30 s, half of it jittered), and the failure is on record."""
    after, _ = moved(snapshot(S.TRAINING, evicted))
    assert (after.attempt, after.failures, after.retry_at, after.reason) == (2, 1, NOW + 22.5, "evicted")


def test_attempts_run_out() -> None:
    """The third transient failure of three is for good."""
    after, item = moved(snapshot(S.TRAINING, evicted, of_run={"failures": 2, "attempt": 3}))
    assert (after.state, item.training) == (S.FAILED, "")
    assert "attempt 3: evicted" in after.reason


def test_a_run_that_failed_leaves_the_night_something_to_do() -> None:
    """The fingerprint is cleared, because no model was trained."""
    _, item = moved(snapshot(S.TRAINING, gone_wrong, of_model={"fingerprint": "0123"}))
    assert item.fingerprint == ""


def test_a_rest_frees_only_our_own_slots() -> None:
    """A run that ends while another one deploys leaves that slot alone."""
    other = Deploying("fraud-rollback-9", 9)
    _, item = moved(snapshot(S.TRAINING, gone_wrong, of_model={"deploying": other}))
    assert (item.training, item.deploying) == ("", other)


def test_a_stop_says_whether_it_was_late_to_start_or_to_finish() -> None:
    """A pod that cannot be scheduled looks RUNNING; only `started.json` tells the two apart."""
    late = moved(snapshot(S.TRAINING, now=NOW + 100_000))[0]
    never = moved(snapshot(S.TRAINING, now=NOW + 100_000, started=None))[0]
    assert "did not finish by its deadline" in late.stop
    assert "did not start by its deadline" in never.stop


def test_the_gate_of_the_model_is_the_gate_that_judges() -> None:
    """The floor comes from the policy, and the rejection names value and limit."""
    after, _ = moved(done(S.EVALUATING, of_policy={"gate": GatePolicy(min_auc_roc=0.99)}))
    assert after.state is S.REJECTED
    assert "0.97" in after.reason
    assert after.verdict["passed"] is False


def test_nobody_said_anything_until_the_deadline() -> None:
    """An approval that nobody gives is a no, and says so."""
    after, _ = moved(snapshot(S.AWAITING_APPROVAL, now=NOW + 172_800))
    assert (after.state, after.reason) == (S.REJECTED, "nobody approved it before the deadline")


def test_a_version_that_cannot_load_never_reaches_the_cluster() -> None:
    """No slot, no generation: the run ends with the server's reason and every check on record."""
    after, item = moved(CASES[S.SHADOWING, S.REJECTED, "failed_shadow"])
    assert (item.deploying, item.generation, after.shadow["outcome"]) == (None, 4, "fail")
    assert "no module named valkey" in after.reason
    assert after.verdict == {}


def test_what_the_shadow_said_is_on_record_when_the_run_deploys() -> None:
    """Verdict, outcome and checks, as the gate's."""
    after, _ = moved(done(S.SHADOWING))
    assert (after.shadow["passed"], after.shadow["outcome"]) == (True, "pass")
    assert {check["name"] for check in after.shadow["checks"]} >= {"loads", "errors", "control", "p99_ms", "alerts"}


def test_a_run_of_the_earlier_release_goes_on_without_the_new_stages() -> None:
    """Its pipelines are those that it began with: no pin, no stage."""
    former = {"pins": {each.value: run(S.QUEUED).pins[each.value] for each in Stage if each is not Stage.SHADOW}}
    assert moved(done(S.EXPORTING, of_run=former))[0].state is S.DEPLOYING
    live = {"pins": {each.value: run(S.QUEUED).pins[each.value] for each in Stage if each is not Stage.MATERIALISE}}
    assert moved(done(S.PREPROCESSING, of_run=live, of_policy=LIVE))[0].state is S.TRAINING


def test_a_void_approval_says_so_and_is_gone() -> None:
    """The champion changed after Ann's yes: evaluated again, and asked about again."""
    after, _ = moved(CASES[S.AWAITING_APPROVAL, S.EVALUATING, "approved_anew"])
    assert after.approvals == ()
    assert after.reason == f"the approval by ann is void: it was of a comparison with {OTHER}; {OLD} serves now"


def test_the_entry_names_who_approved() -> None:
    """History says who said yes, also two of them."""
    given = approved_by("ann", "bob")
    move = decide(given.run, given.observed, given.policy, given.now)
    assert isinstance(move, Move)
    assert (move.entry.who, [one.who for one in move.run.approvals]) == ("ann, bob", ["ann", "bob"])


def test_kept_versions_are_bounded() -> None:
    """The champion and `keep_versions` predecessors are known; older ones are not."""
    many = tuple(release(f"fraud-{n}-0000001{n}") for n in range(6))
    _, item = moved(done(S.DEPLOYING, of_model={"predecessors": many}, of_policy={"keep_versions": 3}))
    assert [each.version for each in item.predecessors] == [OLD, many[0].version, many[1].version]


def test_the_ordinary_run_and_model_are_what_the_cases_say() -> None:
    """The builders this file stands on: the run holds the training slot, OLD serves."""
    assert model().training == run(S.QUEUED).id
    assert model().champion == release(OLD)
