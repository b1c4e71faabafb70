"""One pass: load, observe, decide, then move or act; a world that does not answer is waited for, not guessed at."""

import json
from dataclasses import replace
from typing import Any

import pytest

from simulation.memory.driver import CrashDriver
from simulation.memory.kfp import DenyingPipelines
from simulation.memory.stages import failed, honest, ok
from simulation.memory.world import World
from statemachine.contracts.errors import Malformed, Misconfigured, Unknown, Unreachable
from statemachine.contracts.kfp_run import KfpRun, KfpRunState
from statemachine.contracts.report import Report
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from statemachine.core import codec
from statemachine.core.reason import TransitionReason
from statemachine.core.run import Claim, RequestKind, Run
from statemachine.core.states import State
from statemachine.store import put_run, run_key


def begun(**more: Any) -> World:
    """A world with `fraud-1` QUEUED."""
    world = World(**more)
    world.land("a.csv")
    world.now += 300
    world.tick()
    return world


def until(world: World, state: State, run_id: str = "fraud-1") -> Run:
    for _ in range(100):
        run = world.store.load(run_id)
        if run and run.state is state and (run.kfp_id or state.stage is None):
            return run
        world.minute(10)
    raise AssertionError(world.store.load(run_id))


# -- a pass moves or acts -------------------------------------------------------------------------------------------


def test_a_pass_moves_or_acts_and_never_both() -> None:
    """In each pass of a whole run: a line of history, or a call that changes the world, or neither."""
    world = begun()
    for _ in range(200):
        history = len(list(world.store.history("fraud-1")))
        effects = world.pipelines.calls.get("create", 0) + len(world.files.bodies)
        world.reconciler.look_at("fraud-1")
        moved = len(list(world.store.history("fraud-1"))) - history
        acted = world.pipelines.calls.get("create", 0) + len(world.files.bodies) - effects
        assert not (moved and acted)
        if world.store.run("fraud-1").state.terminal:
            return
        world.stages.run()
        world.now += 1
    raise AssertionError("it does not end")


def test_whoever_acts_has_claimed_the_run_first() -> None:
    """When CreateRun is called, the record says who acts, until later than its Lambda can live."""
    world = begun()
    until(world, State.PREPROCESSING)
    claims: list[Claim | None] = []

    class Watching:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.pipelines, name)

        def create(self, order: StageRequest, pin: Any) -> KfpRun:
            claims.append(world.store.run("fraud-1").claim)
            return world.pipelines.create(order, pin)

    world.wire(world.table, Watching(), world.files, world.hints)
    until(world, State.TRAINING)
    assert claims
    assert all(claim and claim.until >= world.now - 100 + 60 for claim in claims)


def test_a_run_under_a_live_claim_is_left_alone() -> None:
    """Neither moved nor acted for; the hint is done, silently."""
    world = begun()
    run = world.store.run("fraud-1")
    world.store.claim(run, "another", world.now + 150)
    before = dict(world.table.items)
    assert world.reconciler.look_at("fraud-1") == "claimed"
    assert world.table.items == before
    world.now += 151
    assert world.reconciler.look_at("fraud-1") == "did WriteManifest"


def test_a_worker_that_comes_back_after_its_claim_ran_out_launches_nothing() -> None:
    """It looks at the clock once more before it creates, and its result is not written over the other's."""
    world = begun()
    until(world, State.QUEUED)
    while world.store.run("fraud-1").state is State.QUEUED:
        world.reconciler.look_at("fraud-1")

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.pipelines, name)

        def list(self, *given: Any) -> tuple[KfpRun, ...]:
            world.now += 200
            return world.pipelines.list(*given)

    world.wire(world.table, Slow(), world.files, world.hints)
    assert world.reconciler.look_at("fraud-1") == "overtaken: the claim is still ours"
    assert world.pipelines.created == []


def test_with_too_little_time_left_a_pass_does_not_claim() -> None:
    """It would be killed while it acts."""
    world = begun()
    assert world.reconciler.look_at("fraud-1", seconds_left=10) == "too little time left to claim"
    assert world.store.run("fraud-1").claim is None


def test_a_stale_hint_changes_nothing() -> None:
    """A pass over a terminal run writes nothing."""
    world = begun()
    world.until_rest("fraud-1")
    before = dict(world.table.items)
    assert world.reconciler.look_at("fraud-1") == "ended"
    assert world.table.items == before


def test_waiting_within_the_poll_writes_nothing() -> None:
    """A tick a minute over a long training must not cost a write a minute; only once that it has started."""
    world = begun()
    world.stages.every(Stage.TRAIN, lambda order: None)
    until(world, State.TRAINING)
    world.minute()
    writes = world.table.writes
    for _ in range(30):
        world.now += 60
        world.reconciler.look_at("fraud-1")
    assert world.table.writes - writes <= 1
    assert world.store.run("fraud-1").started_at > 0


def test_progress_is_by_ticks_alone() -> None:
    """Every hint is lost: the run ends all the same."""
    world = begun()
    for _ in range(200):
        world.now += 60
        world.stages.run()
        world.hints.queue.clear()
        world.tick()
        world.deliver(limit=1)
        if world.store.run("fraud-1").state.terminal:
            break
    assert world.store.run("fraud-1").state is State.SUCCEEDED


# -- not seen is not absent -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["pipelines", "files"])
@pytest.mark.parametrize("state", [s for s in State if s.stage and s is not State.ROLLING_BACK], ids=lambda s: s.value)
def test_an_outage_is_waited_out_without_a_failure(what: str, state: State) -> None:
    """No attempt is spent, nothing is launched twice; `due_at` backs off and the reason is for people."""
    world = begun()
    if state is State.MATERIALISING:
        world.policies["fraud"] = replace(world.policies["fraud"], live=True)
    until(world, state)
    created = len(world.pipelines.created)
    getattr(world, what).down = True
    for _ in range(30):
        world.now += 60
        world.tick()
        world.deliver()
    run = world.store.run("fraud-1")
    assert (run.state, run.failures, len(world.pipelines.created)) == (state, 0, created)
    assert run.reason.startswith("unreachable")
    assert 0 < run.due_at - world.now <= world.policies["fraud"].backoff_cap
    getattr(world, what).down = False
    assert world.until_rest("fraud-1").state is State.SUCCEEDED


def test_a_getrun_that_fails_alone_stops_nothing() -> None:
    """ListRuns still answers: what was not seen by id is not gone, so the healthy launch goes on."""
    world = begun()
    run = until(world, State.TRAINING)
    world.stages.hanging.add(run.kfp_id)

    class Flaky:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.pipelines, name)

        def get(self, kfp_id: str) -> KfpRun | None:
            raise Unreachable("GetRun timed out")

    world.wire(world.table, Flaky(), world.files, world.hints)
    for _ in range(10):
        world.minute()
    assert world.store.run("fraud-1").attempt == 1
    assert world.pipelines.jobs[run.kfp_id].kfp_run.state is KfpRunState.RUNNING


def test_an_unreachable_kfp_is_no_message_failure() -> None:
    """The pass ends with a word, not with an exception: the message is done."""
    world = begun()
    world.pipelines.down = True
    for _ in range(3):
        assert not world.reconciler.look_at("fraud-1").startswith("moved to P")


def test_a_token_that_kfp_refuses_backs_off_like_an_outage() -> None:
    """The message names the setting, on the run's record."""
    world = begun()
    until(world, State.TRAINING)

    denying = DenyingPipelines(Misconfigured("KFP refuses our token: see FRAUDLOOP_KFP_TOKEN_SECRET"))
    world.wire(world.table, denying, world.files, world.hints)
    world.stages.hanging.update(world.pipelines.jobs)
    world.minute()
    run = world.store.run("fraud-1")
    assert "FRAUDLOOP_KFP_TOKEN_SECRET" in run.reason
    assert run.claim is None


# -- duplicate launches ----------------------------------------------------------------------------------------------


def test_a_lost_answer_of_createrun_launches_no_twin() -> None:
    """The launch shows itself within the grace, and is adopted."""
    world = begun()
    until(world, State.PREPROCESSING)
    world.pipelines.lose_answers, world.pipelines.lag = 1, 110
    world.stages.hanging.add("kfp-2")
    until(world, State.TRAINING)
    for _ in range(30):
        world.now += 10
        world.tick()
        world.deliver()
    assert [order.name for order in world.pipelines.created].count("fraud-1.train.1") == 1
    assert world.store.run("fraud-1").kfp_id == "kfp-2"


def test_nothing_is_created_again_before_the_grace_is_over() -> None:
    """KFP may launch a workflow that it cannot list yet."""
    world = begun()
    until(world, State.PREPROCESSING)
    world.pipelines.lose_answers, world.pipelines.lag = 1, 1e9  # the workflow is never listed: its agent deletes it
    world.stages.hanging.add("kfp-2")
    created = []
    for _ in range(40):
        world.minute(10)
        created.append((world.now, len(world.pipelines.created)))
    second = next(now for now, count in created if count == 3)
    first = next(now for now, count in created if count == 2)
    assert second - first >= world.policies["fraud"].grace


def test_of_twins_the_oldest_is_adopted_and_the_others_are_stopped() -> None:
    """By creation, then by id; only the adopted one is ever read."""
    world = begun()
    while world.store.run("fraud-1").state is State.QUEUED:
        world.reconciler.look_at("fraud-1")
    run = replace(world.store.run("fraud-1"), launch_ids=("L1", "L2", "L3", "L9"))
    world.table.items[run_key("fraud-1")] = put_run(run, "test").item
    for n, age in ((1, 5), (2, 50), (3, 20)):
        order = StageRequest(
            "fraud-1", "fraud", Stage.PREPROCESS, 1, f"L{n}", f"s3://artifacts/runs/fraud-1/preprocess/1/L{n}"
        )
        kfp_run = world.pipelines.create(order, run.pins["preprocess"])
        world.pipelines.jobs[kfp_run.kfp_id].kfp_run = replace(kfp_run, created_at=world.now - age)
    foreign = StageRequest("fraud-1", "fraud", Stage.PREPROCESS, 10, "L9", "s3://elsewhere")
    world.pipelines.create(foreign, run.pins["preprocess"])
    world.reconciler.look_at("fraud-1")
    assert (world.store.run("fraud-1").kfp_id, world.store.run("fraud-1").launch_id) == ("kfp-2", "L2")
    states = {kfp_id: job.kfp_run.state for kfp_id, job in world.pipelines.jobs.items()}
    assert (states["kfp-1"], states["kfp-3"]) == (KfpRunState.FAILED, KfpRunState.FAILED)
    assert states["kfp-4"] is KfpRunState.RUNNING


def test_a_run_by_hand_under_our_name_is_not_ours() -> None:
    """Somebody cloned it in the UI: it carries no launch id of ours and is never adopted."""
    world = begun()
    while world.store.run("fraud-1").state is State.QUEUED:
        world.reconciler.look_at("fraud-1")
    world.pipelines.create(
        StageRequest("fraud-1", "fraud", Stage.PREPROCESS, 1, "", "s3://x"), world.store.run("fraud-1").pins["train"]
    )
    world.reconciler.look_at("fraud-1")
    assert world.store.run("fraud-1").launch_id != ""
    assert world.store.run("fraud-1").kfp_id == "kfp-2"


# -- reports --------------------------------------------------------------------------------------------------------


def test_a_report_counts_before_kfp_says_that_the_run_ended() -> None:
    """A valid report of the adopted launch is success; KFP's state only tells failure and liveness."""
    world = begun()
    run = until(world, State.TRAINING)
    job = world.pipelines.jobs[run.kfp_id]
    world.stages.finish(job)
    job.kfp_run = replace(job.kfp_run, state=KfpRunState.RUNNING)
    assert world.reconciler.look_at("fraud-1") == "moved to EVALUATING"


def test_a_report_that_is_written_between_two_looks_is_not_missed() -> None:
    """KFP says over and no report was there a moment ago: look again before calling it a failure."""
    world = begun()
    run = until(world, State.TRAINING)
    job = world.pipelines.jobs[run.kfp_id]

    class Racing:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.pipelines, name)

        def get(self, kfp_id: str) -> KfpRun | None:
            world.stages.finish(job)
            return world.pipelines.get(kfp_id)

    world.wire(world.table, Racing(), world.files, world.hints)
    assert world.reconciler.look_at("fraud-1") == "moved to EVALUATING"


def test_succeeded_without_a_report_is_a_transient_failure() -> None:
    """KFP's SUCCEEDED is not trusted; the second attempt is."""
    world = begun()
    run = until(world, State.TRAINING)
    world.pipelines.end(run.kfp_id, KfpRunState.SUCCEEDED)
    world.reconciler.look_at("fraud-1")
    again = world.store.run("fraud-1")
    assert (again.state, again.attempt, again.failures) == (State.TRAINING, 2, 1)
    assert "ended SUCCEEDED without a report" in again.reason
    assert world.until_rest("fraud-1").state is State.SUCCEEDED


def test_only_the_adopted_launch_is_read() -> None:
    """A duplicate's report, however good, changes nothing."""
    world = begun()
    run = until(world, State.TRAINING)
    duplicate = StageRequest("fraud-1", "fraud", Stage.TRAIN, 1, "twin", "s3://artifacts/runs/fraud-1/train/1/twin")
    world.files.bodies[f"{duplicate.output_uri}/report.json"] = honest(duplicate).dumps()
    world.reconciler.look_at("fraud-1")
    assert world.store.run("fraud-1").state is State.TRAINING
    assert (
        world.until_rest("fraud-1")
        .outputs["train"]["model"]
        .uri.startswith(f"s3://artifacts/runs/fraud-1/train/1/{run.launch_id}/")
    )


POISON: dict[str, bytes] = {
    "not JSON": b"<html>",
    "huge": b"[" + b" " * 300_000 + b"]",
    "another launch's": honest(StageRequest("fraud-1", "fraud", Stage.TRAIN, 1, "other", "s3://x")).dumps(),
    "a newer format": b'{"format": 99}',
    "without its model": ok(StageRequest("fraud-1", "fraud", Stage.TRAIN, 1, "LAUNCH", "s3://x")).dumps(),
}


@pytest.mark.parametrize("body", POISON.values(), ids=POISON)
def test_a_report_that_lies_ends_the_run_with_a_clear_error(body: bytes) -> None:
    """Permanent: a stage that cannot report will not learn it by being asked again. The next run is not held up."""
    world = begun()
    run = until(world, State.TRAINING)
    folder = f"s3://artifacts/runs/fraud-1/train/1/{run.launch_id}"
    world.files.bodies[f"{folder}/report.json"] = body.replace(b"LAUNCH", run.launch_id.encode())
    world.stages.hanging.add(run.kfp_id)
    ended = world.until_rest("fraud-1")
    assert ended.state is State.FAILED
    assert "report" in ended.reason
    trusted = b"ok" in body and b"LAUNCH" in body  # a report in due form is a stage's last act: nothing to stop
    assert world.pipelines.working() == () or trusted
    world.land("b.csv")
    assert world.until_rest("fraud-2").state is State.SUCCEEDED


def test_a_started_json_that_cannot_be_read_still_says_that_it_started() -> None:
    """The run deadline counts, from the launch."""
    world = begun()
    run = until(world, State.TRAINING)
    world.stages.hanging.add(run.kfp_id)
    world.files.bodies[f"s3://artifacts/runs/fraud-1/train/1/{run.launch_id}/started.json"] = b"{"
    world.now = run.launched_at + 3500
    world.reconciler.look_at("fraud-1")
    assert world.store.run("fraud-1").stop == ""
    world.now = run.launched_at + 3601
    world.reconciler.look_at("fraud-1")
    assert "finish" in world.store.run("fraud-1").stop


# -- deadlines ------------------------------------------------------------------------------------------------------


def test_a_pod_that_never_starts_is_found_stopped_and_tried_again() -> None:
    """It looks RUNNING to KFP for ever; `start_deadline` finds it."""
    world = begun()
    world.stages.unschedulable.add("fraud-1.train.1")
    assert world.until_rest("fraud-1").state is State.SUCCEEDED
    rows = [(entry.reason, entry.message) for entry in world.store.history("fraud-1")]
    assert next(message for reason, message in rows if reason is TransitionReason.OVERDUE).startswith(
        "it did not start by its deadline"
    )
    assert [order.name for order in world.pipelines.created].count("fraud-1.train.2") == 1


def test_a_stage_that_is_being_stopped_is_awaited_before_the_next_attempt() -> None:
    """CANCELING is not over: its pod may still be working, and two would share a GPU."""
    world = begun()
    world.pipelines.stopping = 400
    world.stages.unschedulable.add("fraud-1.train.1")
    run = until(world, State.TRAINING)
    for _ in range(60):
        world.minute(30)
        working = world.pipelines.working("fraud-1.train.")
        assert len(working) <= 1
    assert world.until_rest(run.id).state is State.SUCCEEDED


# -- poison on record -----------------------------------------------------------------------------------------------


def test_an_unknown_run_is_a_clear_error() -> None:
    """The message goes to the dead-letter queue."""
    with pytest.raises(Unknown, match="there is no run 'fraud-9'"):
        World().reconciler.look_at("fraud-9")


def test_a_record_of_an_unknown_format_is_a_clear_error_and_others_go_on() -> None:
    """Written by a release that is newer than the one before ours."""
    world = begun()
    item = world.table.items[run_key("fraud-1")]
    world.table.items[run_key("fraud-1")] = {**item, "format": codec.FORMAT + 1}
    with pytest.raises(Malformed, match=f"format {codec.FORMAT + 1}"):
        world.reconciler.look_at("fraud-1")


def test_a_run_of_a_model_that_is_not_configured_is_a_clear_error() -> None:
    """Somebody took the table out of `fraudloop.toml` while it ran."""
    world = begun()
    world.policies.clear()
    with pytest.raises(Malformed, match=r"a model that fraudloop\.toml does not name"):
        world.reconciler.look_at("fraud-1")


FORMER_NAMES = {  # as format 2 named the fields
    "operator_request": "wish",
    "create_uncertain_until": "unsure_until",
    "report_error": "misreport",
    "unreachable_count": "unseen",
}
FORMER_ENTRY = {"reason": "row", "message": "reason"}


def downgraded(item: dict[str, Any], *lacking: str) -> dict[str, Any]:
    """As the release before wrote it: its format number and field names, and without the newest fields."""
    names = FORMER_ENTRY if item["type"] == "entry" else FORMER_NAMES
    body = {names.get(name, name): value for name, value in json.loads(item["body"]).items() if name not in lacking}
    return {**item, "format": codec.FORMAT - 1, "body": json.dumps(body)}


@pytest.mark.parametrize(
    "state", [s for s in State if s.stage and s is not State.ROLLING_BACK] + [State.QUEUED], ids=lambda s: s.value
)
def test_a_deployment_with_runs_in_flight(state: State) -> None:
    """Every record on the table is of format N−1 and lacks what N added: the run goes on to its end."""
    world = begun()
    if state is State.MATERIALISING:
        world.policies["fraud"] = replace(world.policies["fraud"], live=True)
    until(world, state)
    for key, item in list(world.table.items.items()):
        if "body" in item:
            world.table.items[key] = downgraded(dict(item), "condemned", "stopping_since", "denied_since")
    assert world.until_rest("fraud-1").state is State.SUCCEEDED
    assert world.stages.application.version == world.store.run("fraud-1").candidate
    assert [entry.dest for entry in world.store.history("fraud-1")][-1] == "SUCCEEDED"


def test_a_cancel_written_by_the_release_before_is_obeyed() -> None:
    """An upgrade between a person's request and the next pass loses nothing."""
    world = begun()
    until(world, State.TRAINING)
    world.operations.operator_request("fraud-1", RequestKind.CANCEL, "ann", "the data is wrong")
    key = run_key("fraud-1")
    world.table.items[key] = downgraded(dict(world.table.items[key]))
    assert world.until_rest("fraud-1").state is State.CANCELLED


# -- release --------------------------------------------------------------------------------------------------------


def test_a_late_deploy_is_fenced() -> None:
    """A deploy pod of a former generation that wakes up cannot move the pointer any more."""
    world = begun()
    run = until(world, State.DEPLOYING)
    late = world.pipelines.jobs[run.kfp_id].order
    world.until_rest("fraud-1")
    world.land("b.csv")
    world.until_rest("fraud-2")
    live = world.stages.application.version
    assert not world.stages.application.patch(late)
    assert world.stages.application.version == live == world.store.run("fraud-2").candidate


def test_an_approval_is_of_the_champion_that_was_compared() -> None:
    """A rollback comes between evaluation and approval: the candidate is evaluated again, against what serves now."""
    world = begun()
    world.until_rest("fraud-1")
    first = world.store.run("fraud-1").candidate
    world.land("b.csv")
    world.until_rest("fraud-2")
    world.policies["fraud"] = replace(world.policies["fraud"], require_approval=True)
    world.land("c.csv")
    until(world, State.AWAITING_APPROVAL, "fraud-3")
    world.operations.rollback("fraud", first, "ann", "complaints")
    world.until_rest("fraud-rollback-3")
    world.approve("fraud-3")
    world.deliver()
    assert until(world, State.EVALUATING, "fraud-3").champion == first
    until(world, State.AWAITING_APPROVAL, "fraud-3")
    world.approve("fraud-3")
    assert world.until_rest("fraud-3").state is State.SUCCEEDED


def test_a_rolled_back_version_is_not_promoted_again_by_the_next_night() -> None:
    """The same data makes the same content; the nightly run is REJECTED with that reason."""
    world = begun()
    world.until_rest("fraud-1")

    def same_content(order: StageRequest) -> Report:
        version = f"{order.run_id}-5a5a5a5a"
        return ok(order, {"version": version}, {"repository": f"s3://artifacts/models/fraud/{version}"})

    world.stages.every(Stage.EXPORT, same_content)
    world.stages.script(Stage.DEPLOY, world.stages.break_on_load)
    world.land("b.csv")
    assert world.until_rest("fraud-2").state is State.ROLLED_BACK
    world.policies["fraud"] = replace(world.policies["fraud"], skip_unchanged_night=False)
    CrashDriver(world).nightly_schedule("2026-11-25T02:00:00Z")
    again = world.until_rest("fraud-3")
    assert (again.state, "rolled back" in again.reason) == (State.REJECTED, True)


def test_a_fenced_deploy_goes_above_what_is_live() -> None:
    """The generation on record was lost, or somebody else deployed: the controller goes on above it."""
    world = begun()
    world.stages.application.generation = 40
    run = world.until_rest("fraud-1")
    assert (run.state, run.generation) == (State.SUCCEEDED, 41)
    assert world.store.model("fraud").generation == 41


def test_a_failure_says_what_failed_where() -> None:
    """State, attempt, and the stage's own words."""
    world = begun()
    world.stages.every(Stage.TRAIN, lambda order: failed(order, "CUDA error 719"))
    run = world.until_rest("fraud-1")
    assert run.reason == "training, attempt 3: CUDA error 719"


def test_the_put_of_a_run_that_rests_leaves_the_index_of_due_runs() -> None:
    """A tick finds only what is alive."""
    world = begun()
    run = world.until_rest("fraud-1")
    assert "due_at" not in put_run(run, "w").item
    assert list(world.table.due(1e12)) == []
