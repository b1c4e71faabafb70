"""A report or record that cannot be written, or a URI that may not be named, ends its own run and hangs nobody."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from simulation.memory.kfp import DenyingPipelines
from simulation.memory.stages import failed, honest, ok
from simulation.memory.world import World
from statemachine.contracts.errors import Impossible, Misconfigured
from statemachine.contracts.kfp_run import KfpRun
from statemachine.contracts.limits import ITEM_BYTES, item_bytes
from statemachine.contracts.report import MAX_BYTES, Artifact, Report
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from statemachine.core.run import RequestKind, Run
from statemachine.core.states import State
from statemachine.store import put_run, run_key


def begun(**more: Any) -> World:
    world = World(**more)
    world.land("a.csv")
    world.now += 300
    world.tick()
    return world


def until(world: World, state: State) -> Run:
    for _ in range(100):
        run = world.store.load("fraud-1")
        if run and run.state is state and (run.kfp_id or state.stage is None):
            return run
        world.minute(10)
    raise AssertionError(world.store.load("fraud-1"))


def big(order: StageRequest) -> Report:
    """As the file that was found (report_big.json): under 256 KiB, and beyond 400 KB as the record's JSON text."""
    report = honest(order)
    wide = {f"part {n}": Artifact(f"{order.output_uri}/{'ü' * 1900}", "") for n in range(64)}
    return replace(report, outputs={**report.outputs, **wide})


def many_metrics(order: StageRequest) -> Report:
    return replace(honest(order), metrics={f"m{'x' * 1000}{n}": 0.5 for n in range(90)})


def wordy(order: StageRequest) -> Report:
    """Refused in many words."""
    return failed(order, "\U0001f4a5" * 30_000, permanent=True)


@pytest.mark.parametrize("play", [big, many_metrics, wordy])
def test_a_report_that_no_record_can_hold_ends_its_run(play: Callable[[StageRequest], Report]) -> None:
    """FAILED with the reason, within minutes; today's 12 hours of trying again are over."""
    world = begun()
    world.stages.script(Stage.TRAIN, play)
    run = world.until_rest("fraud-1", minutes=30)
    assert run.state is State.FAILED
    assert run.reason
    assert world.store.model("fraud").training == ""
    world.land("b.csv")
    assert world.until_rest("fraud-2").state is State.SUCCEEDED


def test_the_big_report_is_one() -> None:
    """The case is a file under 256 KiB whose record would be over 400 KB: so is this one."""
    order = StageRequest("fraud-1", "fraud", Stage.PREPROCESS, 1, "L", "s3://artifacts/runs/fraud-1/preprocess/1/L")
    body = json.dumps(json.loads(big(order).dumps()), ensure_ascii=False).encode()
    assert len(body) < MAX_BYTES
    assert len(big(order).dumps()) > ITEM_BYTES


@pytest.mark.parametrize("play", [big, many_metrics, wordy])
def test_cancel_works_whatever_the_last_report_held(play: Callable[[StageRequest], Report]) -> None:
    """The request is stored, and the move to CANCELLED holds nothing that is too large."""
    world = begun()
    run = until(world, State.TRAINING)
    job = world.pipelines.jobs[run.kfp_id]
    world.files.bodies[f"{job.order.output_uri}/report.json"] = play(job.order).dumps()
    world.stages.hanging.add(run.kfp_id)
    world.operations.operator_request("fraud-1", RequestKind.CANCEL, "ann", "enough")
    assert world.until_rest("fraud-1", minutes=30).state is State.CANCELLED
    assert world.pipelines.working() == ()


def test_a_move_that_can_never_be_written_is_not_tried_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever makes it so: the next pass ends the attempt, and carries nothing of its report."""
    world = begun()
    until(world, State.TRAINING)
    world.stages.run()
    move, tries = type(world.store).move, []

    def limited(self: Any, run: Run, *more: Any) -> None:
        if run.outputs.get("train"):
            tries.append(run.id)
            raise Impossible("ValidationException: a limit that we do not know of")
        move(self, run, *more)

    monkeypatch.setattr(type(world.store), "move", limited)
    run = world.until_rest("fraud-1", minutes=10)
    assert (run.state, "a limit that we do not know of" in run.reason) == (State.FAILED, True)
    assert len(tries) == 1


def test_a_run_that_says_all_it_may_fits_its_record() -> None:
    """All stages with outputs and metrics up to their limits, long verdicts and a long operator request."""
    world = begun()
    world.policies["fraud"] = replace(world.policies["fraud"], live=True)

    def full(order: StageRequest) -> Report:
        report = honest(order)
        more = {f"part {n}": Artifact(f"{order.output_uri}/{n:04d}{'x' * 1000}", "f" * 64) for n in range(19)}
        metrics = {f"{order.stage.value}.{n:03d}{'m' * 60}": 0.1234567890123456 for n in range(80)}
        return replace(report, outputs={**report.outputs, **more}, metrics=metrics)

    for stage in Stage:
        world.stages.every(stage, full)
    world.stages.every(Stage.DEPLOY, lambda o: world.stages.release(o) and full(o))
    run = world.until_rest("fraud-1")
    assert run.state is State.SUCCEEDED, run.reason
    assert item_bytes(put_run(run, "w").attributes) < ITEM_BYTES * 0.7
    for n in range(2, 9):
        world.land(f"{n}.csv")
        assert world.until_rest(f"fraud-{n}").state is State.SUCCEEDED


@pytest.mark.parametrize(
    "uri",
    [
        "s3://somebody-elses/secret",
        "s3://artifacts/runs/fraud-1/train/1/another/model",
        "s3://artifacts/runs/fraud-2/train/1/HERE/model",
        "s3://artifacts/models/fraud/fraud-1-00000000",
        "file:///etc/passwd",
        "HERE/../../../../fraud-9/model",
        "HERE//model",
        "HERE",
        "HERE/a\u202emodel",
    ],
)
def test_a_uri_outside_of_the_launchs_own_folder_is_refused(uri: str) -> None:
    """It would be handed to the next stage, and read with our own rights."""
    world = begun()
    world.stages.script(Stage.TRAIN, lambda o: ok(o, outputs={"model": uri.replace("HERE", o.output_uri)}))
    run = world.until_rest("fraud-1")
    assert (run.state, "outside of what this launch may name" in run.reason) == (State.FAILED, True)
    assert "train" not in run.outputs
    assert [order.stage for order in world.pipelines.created].count(Stage.EVALUATE) == 0


@pytest.mark.parametrize("cause", ["denied", "too large to mark"])
def test_verdicts_that_may_not_be_read_or_written_end_the_run(cause: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """AccessDenied on what the report named, a limit of the table: permanent, with the reason."""
    world = begun()
    run = until(world, State.PREPROCESSING)
    world.stages.run()
    if cause == "denied":
        world.files.denied.add(f"{world.pipelines.jobs[run.kfp_id].order.output_uri}/objects")
    else:

        def refuse(*_: Any) -> None:
            raise Impossible("an item of 500000 bytes")

        monkeypatch.setattr(type(world.intake), "mark", refuse)
    ended = world.until_rest("fraud-1", minutes=10)
    assert ended.state is State.FAILED
    assert ("AccessDenied" if cause == "denied" else "500000 bytes") in ended.reason


def test_our_own_file_that_may_not_be_read_is_waited_for() -> None:
    """A right that was taken away by mistake can be given back; nothing is concluded about the stage."""
    world = begun()
    run = until(world, State.TRAINING)
    world.files.denied.add(f"{world.pipelines.jobs[run.kfp_id].order.output_uri}/report.json")
    for _ in range(5):
        world.minute()
    assert "AccessDenied" in world.store.run("fraud-1").reason
    world.files.denied.clear()
    assert world.until_rest("fraud-1").state is State.SUCCEEDED


def test_our_own_file_that_may_not_be_read_for_hours_ends_the_run() -> None:
    """No wait without an end: the stage can never be seen to succeed."""
    world = begun()
    run = until(world, State.TRAINING)
    world.files.denied.add(f"{world.pipelines.jobs[run.kfp_id].order.output_uri}/report.json")
    ended = world.until_rest("fraud-1", minutes=420)
    assert (ended.state, "nobody mended it" in ended.reason) == (State.FAILED, True)
    assert world.pipelines.working() == ()


def test_a_manifest_that_may_not_be_written_for_hours_ends_the_run() -> None:
    """The same for what we write."""
    world = begun()

    class Locked:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.files, name)

        def write(self, uri: str, body: bytes) -> None:
            raise Misconfigured(f"writing {uri}: AccessDenied")

    world.wire(world.table, world.pipelines, Locked(), world.hints)
    ended = world.until_rest("fraud-1", minutes=420)
    assert (ended.state, "AccessDenied" in ended.reason) == (State.FAILED, True)


# -- create ---------------------------------------------------------------------------------------------------------


class Refusing:
    """Pipelines that refuse to create."""

    def __init__(self, world: World, error: Exception) -> None:
        self.world, self.error, self.asked = world, error, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.world.pipelines, name)

    def create(self, *_: Any) -> KfpRun:
        self.asked += 1
        raise self.error


def test_an_order_that_the_engine_calls_invalid_ends_the_run() -> None:
    """KFP's 400: asked once, FAILED with KFP's own words."""
    world = begun()
    refusing = Refusing(world, Impossible("KFP create: 400 Unrecognized input parameter"))
    world.wire(world.table, refusing, world.files, world.hints)
    run = world.until_rest("fraud-1", minutes=10)
    assert (run.state, "Unrecognized input parameter" in run.reason, refusing.asked) == (State.FAILED, True, 1)


def test_an_engine_that_will_not_let_us_is_waited_for_and_then_given_up() -> None:
    """KFP's 403: somebody may give the right, so it waits with the reason; not for ever."""
    world = begun()
    world.wire(world.table, Refusing(world, Misconfigured("403: no rights")), world.files, world.hints)
    for _ in range(60):
        world.minute()
    waiting = world.store.run("fraud-1")
    assert (waiting.state, "403: no rights" in waiting.reason) == (State.PREPROCESSING, True)
    run = world.until_rest("fraud-1", minutes=420)
    assert (run.state, "for 6 h nobody mended it" in run.reason) == (State.FAILED, True)


def test_pins_that_we_may_not_look_up_are_waited_for_and_then_given_up() -> None:
    """The run has not begun: it waits QUEUED with the reason, and fails in the end."""
    world = begun()

    denying = DenyingPipelines(Misconfigured("403: no rights on pipelines.kubeflow.org"))
    world.wire(world.table, denying, world.files, world.hints)
    run = world.until_rest("fraud-1", minutes=420)
    assert (run.state, "no rights on pipelines.kubeflow.org" in run.reason) == (State.FAILED, True)


@pytest.mark.parametrize("state", [State.QUEUED, State.PREPROCESSING])
def test_cancel_works_while_kfp_is_down_and_nothing_was_launched(state: State) -> None:
    """There is nothing to stop, so nobody needs to be asked."""
    world = begun()
    while world.store.run("fraud-1").state is not state:
        world.reconciler.look_at("fraud-1")
    world.pipelines.down = True
    for _ in range(5):
        world.minute()
    world.operations.operator_request("fraud-1", RequestKind.CANCEL, "ann", "never mind")
    assert world.until_rest("fraud-1", minutes=20).state is State.CANCELLED


def test_a_wish_is_cut_to_what_the_record_holds() -> None:
    """Who pipes a log into `--why` cancels all the same."""
    world = begun()
    world.operations.operator_request("fraud-1", RequestKind.CANCEL, "ann", "\U0001f4a5" * 100_000)
    assert world.until_rest("fraud-1").state is State.CANCELLED


def test_an_engine_that_lets_us_again_forgets_that_it_did_not() -> None:
    """The deadline is of one refusal that lasts."""
    world = begun()
    world.wire(world.table, Refusing(world, Misconfigured("403: no rights")), world.files, world.hints)
    for _ in range(200):
        world.minute()
    world.wire(world.table, world.pipelines, world.files, world.hints)
    assert world.until_rest("fraud-1").state is State.SUCCEEDED


# -- duties that always die -----------------------------------------------------------------------------------------


class Killed(BaseException):
    """The Lambda's own end: out of memory, out of time."""


def test_a_duty_that_always_dies_ends_its_run() -> None:
    """WriteManifest is killed each time: QUEUED for ever, with an empty reason, was today's answer."""
    world = begun()

    class Deadly:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.files, name)

        def write(self, *_: Any) -> None:
            raise Killed

    world.wire(world.table, world.pipelines, Deadly(), world.hints)
    deaths = 0
    for _ in range(60):
        world.now += 60
        world.tick()
        world.hints.queue.clear()
        try:
            world.reconciler.look_at("fraud-1")
        except Killed:
            deaths += 1
    run = world.store.run("fraud-1")
    assert (run.state, deaths) == (State.FAILED, world.policies["fraud"].max_lapsed)
    assert run.reason == "queued: the worker died 5 times in succession at queued"


def test_a_claim_that_is_given_back_forgives_the_deaths_before_it() -> None:
    """Only successive crashes count."""
    world = begun()
    for _ in range(3):
        run = world.store.run("fraud-1")
        world.store.claim(run, "dies", world.now + 150)
        world.now += 151
    assert world.store.run("fraud-1").lapsed == 2
    assert world.reconciler.look_at("fraud-1") == "did WriteManifest"
    assert world.store.run("fraud-1").lapsed == 0


def test_a_record_before_lapsed_claims_were_counted_is_read() -> None:
    """A field that an older record lacks takes its default."""
    world = begun()
    item = dict(world.table.items[run_key("fraud-1")])
    body = json.loads(item["body"])
    for name in ("lapsed", "launch_ids", "deployment", "stopping_since", "denied_since", "condemned"):
        body.pop(name)
    world.table.items[run_key("fraud-1")] = {**item, "body": json.dumps(body)}
    assert world.until_rest("fraud-1").state is State.SUCCEEDED
