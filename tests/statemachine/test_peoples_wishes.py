"""What people may ask: with who and why on record, twice is once, and refused with the reason where it cannot be."""

from dataclasses import replace
from typing import Any

import pytest

from simulation.memory.stages import failed
from simulation.memory.world import World
from statemachine.contracts.errors import OperationRefused, Unknown
from statemachine.contracts.report import Artifact
from statemachine.contracts.stage import Stage
from statemachine.core.approval import subject_digest
from statemachine.core.policy import ApprovalPolicy
from statemachine.core.reason import TransitionReason
from statemachine.core.run import Approval, RequestKind, Run
from statemachine.core.states import State
from statemachine.operations import Operations


def until(world: World, state: State, run_id: str = "fraud-1") -> Run:
    for _ in range(200):
        run = world.store.load(run_id)
        if run and run.state is state and (run.kfp_id or state.stage is None):
            return run
        world.minute(10)
    raise AssertionError(world.store.load(run_id))


def succeeded(*names: str) -> World:
    """One run after the other, each a champion."""
    world = World()
    for n, name in enumerate(names or ("a.csv",), start=1):
        world.land(name)
        world.until_rest(f"fraud-{n}")
    return world


def broken(stage: Stage) -> World:
    """`fraud-1` FAILED in `stage`; the cause is mended since."""
    world = World()
    world.stages.script(stage, lambda order: failed(order, "a bug", permanent=True))
    world.land("a.csv")
    world.until_rest("fraud-1")
    return world


# -- wishes on runs -------------------------------------------------------------------------------------------------


def test_a_wish_is_only_written_and_the_reconciler_decides() -> None:
    """The state does not change by wishing; the history names who asked and why."""
    world = World()
    world.land("a.csv")
    until(world, State.TRAINING)
    world.operations.operator_request("fraud-1", RequestKind.CANCEL, "arn:aws:sts::1:assumed-role/x/ann", "wrong data")
    assert world.store.run("fraud-1").state is State.TRAINING
    run = world.until_rest("fraud-1")
    assert run.reason == "cancelled by arn:aws:sts::1:assumed-role/x/ann: wrong data"
    assert list(world.store.history("fraud-1"))[-1].who.endswith("/ann")


def test_the_same_wish_twice_is_one() -> None:
    """The first one's who and why stay."""
    world = World()
    world.land("a.csv")
    until(world, State.TRAINING)
    first = world.operations.operator_request("fraud-1", RequestKind.CANCEL, "ann", "wrong data")
    again = world.operations.operator_request("fraud-1", RequestKind.CANCEL, "bob", "me too")
    assert (again.operator_request, again.version) == (first.operator_request, first.version)


def test_a_cancelled_run_leaves_nothing_behind() -> None:
    """KFP stopped its run before the run ends and the slot is free."""
    world = World()
    world.pipelines.stopping = 500
    world.stages.every(Stage.TRAIN, lambda order: None)
    world.land("a.csv")
    until(world, State.TRAINING)
    world.operations.operator_request("fraud-1", RequestKind.CANCEL, "ann", "why")
    for _ in range(5):
        world.minute()
        assert world.store.model("fraud").training == "fraud-1"
    assert world.until_rest("fraud-1").state is State.CANCELLED
    assert world.pipelines.working() == ()
    assert world.store.model("fraud").training == ""


def test_a_wish_while_a_worker_acts_is_not_lost() -> None:
    """The worker gives its claim back and keeps the request that came meanwhile."""
    world = World()
    world.land("a.csv")
    world.now += 300
    world.tick()
    claimed = world.store.claim(world.store.run("fraud-1"), "worker", world.now + 150)
    world.operations.operator_request("fraud-1", RequestKind.CANCEL, "ann", "why")
    freed = world.store.release("fraud-1", "worker", {"due_at": world.now})
    assert freed.version == claimed.version + 2
    assert freed.asks(RequestKind.CANCEL)


@pytest.mark.parametrize(
    ("state", "kind", "reason"),
    [
        (State.TRAINING, RequestKind.REJECT, "only a run that is AWAITING_APPROVAL can be approved or rejected"),
        (State.ROLLING_BACK, RequestKind.CANCEL, "bringing the last good version back"),
    ],
    ids=lambda value: getattr(value, "value", ""),
)
def test_a_wish_that_the_state_forbids_is_refused(state: State, kind: RequestKind, reason: str) -> None:
    """With the reason."""
    world = succeeded() if state is State.ROLLING_BACK else World()
    run_id = "fraud-2" if state is State.ROLLING_BACK else "fraud-1"
    world.stages.script(Stage.DEPLOY, world.stages.break_on_load)
    world.land("b.csv")
    until(world, state, run_id)
    with pytest.raises(OperationRefused, match=reason):
        world.operations.operator_request(run_id, kind, "ann", "why")


def test_a_run_that_is_over_takes_no_wish() -> None:
    """Terminal is final."""
    world = succeeded()
    with pytest.raises(OperationRefused, match="fraud-1 is over"):
        world.operations.operator_request("fraud-1", RequestKind.CANCEL, "ann", "why")
    with pytest.raises(Unknown, match="there is no run"):
        world.operations.operator_request("fraud-9", RequestKind.CANCEL, "ann", "why")


def test_a_second_wish_of_another_kind_is_refused_with_who_was_first() -> None:
    """Ann rejected; Bob cannot cancel afterwards."""
    world = World()
    policy = world.policies["fraud"]
    world.policies["fraud"] = replace(policy, require_approval=True)
    world.land("a.csv")
    until(world, State.AWAITING_APPROVAL)
    world.operations.operator_request("fraud-1", RequestKind.REJECT, "ann", "no")
    with pytest.raises(OperationRefused, match="ann asked fraud-1 to reject already"):
        world.operations.operator_request("fraud-1", RequestKind.CANCEL, "bob", "why")


# -- approve --------------------------------------------------------------------------------------------------------


def waiting(**approval: Any) -> World:
    """A world in which `fraud-1`, which Ann started, waits for approval."""
    world = World()
    policy = replace(world.policies["fraud"], require_approval=True, approval=ApprovalPolicy(**approval))
    world.policies["fraud"] = policy
    world.land("a.csv")
    world.operations.start("fraud", "ann", "she wants to see")
    until(world, State.AWAITING_APPROVAL)
    return world


def test_an_approval_is_on_record_with_what_it_is_of() -> None:
    """Who, why, when and the digest, which stays with the run; and the model's history has the act."""
    world = waiting()
    digest = subject_digest(world.store.run("fraud-1"))
    world.operations.approve("fraud-1", digest, "the slices look right", "ann")
    run = world.until_rest("fraud-1")
    assert run.state is State.SUCCEEDED
    assert run.approvals == (Approval("ann", "the slices look right", run.approvals[0].at, digest),)
    assert [(act.what, act.who) for act in world.store.acts("fraud")][-1] == ("approve", "ann")
    assert [entry.who for entry in world.store.history("fraud-1")][-2] == "ann"


def test_saying_yes_twice_is_once() -> None:
    """The second one changes nothing, and does not count as a second person."""
    world = waiting(approvers=2)
    first = world.approve("fraud-1", "ann")
    assert world.approve("fraud-1", "ann") == first
    for _ in range(10):
        world.minute()
    assert world.store.run("fraud-1").state is State.AWAITING_APPROVAL
    world.approve("fraud-1", "bob")
    assert world.until_rest("fraud-1").state is State.SUCCEEDED


@pytest.mark.parametrize("digest", ["", "0" * 64, "unreadable"])
def test_a_yes_to_something_else_is_refused(digest: str) -> None:
    """The person is told to look again."""
    world = waiting()
    with pytest.raises(OperationRefused, match="is not what would be deployed now"):
        world.operations.approve("fraud-1", digest, "fine", "ann")
    assert world.store.run("fraud-1").approvals == ()


def test_a_yes_to_files_that_were_changed_is_refused() -> None:
    """The evaluation in S3 is not the one that was reported, or the version is gone."""
    world = waiting()
    run = world.store.run("fraud-1")
    outputs = {**run.outputs, "evaluate": {"evaluation": Artifact(run.output(Stage.EVALUATE, "evaluation"), "0" * 64)}}
    world.store.defer(run, run.due_at, "", outputs=outputs)
    with pytest.raises(OperationRefused, match="output evaluation was changed since it was reported"):
        world.approve("fraud-1")
    world = waiting()
    del world.files.bodies[world.store.run("fraud-1").output(Stage.EXPORT, "repository")]
    with pytest.raises(OperationRefused, match="output repository is gone"):
        world.approve("fraud-1")


def test_who_started_a_run_or_set_its_parameters_may_be_barred() -> None:
    """Ann started it and Bob set its parameters: Cem has to say yes."""
    world = waiting(separate=True)
    run = world.store.run("fraud-1")
    world.store.defer(run, run.due_at, "", parameters_by="bob")
    for who, why in (("ann", "ann started fraud-1"), ("bob", "bob set the parameters of fraud-1")):
        with pytest.raises(OperationRefused, match=why):
            world.approve("fraud-1", who)
    world.approve("fraud-1", "cem")
    assert world.until_rest("fraud-1").state is State.SUCCEEDED


def test_parameters_have_an_author() -> None:
    """Who adopted them is on the runs that begin with them, and on no other."""
    world = World()
    world.operations.adopt("fraud", {"train": {"seed": 9}}, {"who": "bob", "why": "tuned", "uri": "s3://t/1.json"})
    world.land("a.csv")
    assert until(world, State.TRAINING).parameters_by == "bob"


def test_an_approval_expires() -> None:
    """The model is on hold for longer than a yes counts: released, it is asked about again."""
    world = waiting(expiry=3600)
    world.operations.hold("fraud", "ann", "audit")
    world.approve("fraud-1")
    for _ in range(70):
        world.minute()
    world.operations.release("fraud", "ann", "done")
    for _ in range(5):
        world.minute()
    assert world.store.run("fraud-1").state is State.AWAITING_APPROVAL
    world.approve("fraud-1")
    assert world.until_rest("fraud-1").state is State.SUCCEEDED


def test_a_person_who_approved_may_still_be_overruled() -> None:
    """Until the run goes on, Bob may reject what Ann approved."""
    world = waiting(approvers=2)
    world.approve("fraud-1", "ann")
    world.operations.operator_request("fraud-1", RequestKind.REJECT, "bob", "recall fell")
    run = world.until_rest("fraud-1")
    assert (run.state, run.reason) == (State.REJECTED, "rejected by bob: recall fell")


def test_a_run_that_waited_under_the_release_before_is_exported_and_asked_about_again() -> None:
    """Approval stood before export then: there was no candidate yet that one could approve."""
    world = waiting()
    run = world.store.run("fraud-1")
    outputs = {name: made for name, made in run.outputs.items() if name not in ("export", "shadow")}
    world.store.defer(run, run.due_at, "", candidate="", outputs=outputs, shadow={})
    with pytest.raises(OperationRefused, match="no exported version yet: it is made first"):
        world.approve("fraud-1")
    world.deliver()
    until(world, State.AWAITING_APPROVAL)
    assert world.store.run("fraud-1").candidate
    world.approve("fraud-1")
    assert world.until_rest("fraud-1").state is State.SUCCEEDED


def test_a_redrive_of_a_run_from_before_the_shadow_goes_through_it() -> None:
    """Its parent's pipelines lack the stage, so they are read anew."""
    world = broken(Stage.TRAIN)
    parent = world.store.run("fraud-1")
    world.store.defer(parent, 0.0, "", pins={name: pin for name, pin in parent.pins.items() if name != "shadow"})
    world.operations.redrive("fraud-1", Stage.TRAIN, "ann", "mended")
    run = world.until_rest("fraud-1-r1")
    assert (run.state, "shadow" in run.attempts) == (State.SUCCEEDED, True)


# -- start ----------------------------------------------------------------------------------------------------------


def test_start_closes_the_window_now() -> None:
    """Without waiting for quiet; with who and why."""
    world = World()
    world.land("a.csv")
    run_id = world.operations.start("fraud", "ann", "the board meets")
    assert run_id == "fraud-1"
    assert world.store.run(run_id).trigger.by == "ann"


def test_start_trains_again_on_what_is_there() -> None:
    """Also when nothing new came; but not on nothing at all."""
    world = World()
    assert world.operations.start("fraud", "ann", "why") == ""
    world = succeeded()
    assert world.operations.start("fraud", "ann", "again") == "fraud-2"


def test_start_during_a_run_is_a_wish_for_the_next_window() -> None:
    """It begins when the slot is free."""
    world = World()
    world.land("a.csv")
    until(world, State.TRAINING)
    assert world.operations.start("fraud", "ann", "why") == ""
    assert world.until_rest("fraud-2").trigger.by == "ann"


def test_nothing_starts_on_a_model_that_is_held_or_unknown() -> None:
    """The reason names who holds it, and what to type."""
    world = succeeded()
    world.operations.hold("fraud", "bob", "audit")
    for ask in (
        lambda: world.operations.start("fraud", "ann", "why"),
        lambda: world.operations.redrive("fraud-1", Stage.TRAIN, "ann", "why"),
    ):
        with pytest.raises(OperationRefused, match="on hold by bob: audit; `fraudloop release fraud` first"):
            ask()
    with pytest.raises(Unknown, match="there is no model 'fruad'"):
        world.operations.start("fruad", "ann", "why")


# -- redrive --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("broke", "start", "kept"),
    [
        (Stage.TRAIN, Stage.PREPROCESS, set()),
        (Stage.TRAIN, Stage.TRAIN, {"preprocess"}),
        (Stage.EVALUATE, Stage.EVALUATE, {"preprocess", "train"}),
        (Stage.EXPORT, Stage.EXPORT, {"preprocess", "train", "evaluate"}),
        (Stage.DEPLOY, Stage.DEPLOY, {"preprocess", "train", "evaluate"}),
    ],
    ids=lambda value: getattr(value, "value", ""),
)
def test_a_redrive_is_a_new_run_that_reuses_what_was_made(broke: Stage, start: Stage, kept: set[str]) -> None:
    """With `parent`, the same manifest and pins; the stages before are not run again."""
    world = broken(broke)
    parent = world.store.run("fraud-1")
    child = world.operations.redrive("fraud-1", start, "ann", "mended")
    assert (child.id, child.parent, child.manifest, child.pins) == (
        "fraud-1-r1",
        "fraud-1",
        parent.manifest,
        parent.pins,
    )
    assert set(child.outputs) == kept
    ended = world.until_rest("fraud-1-r1")
    assert ended.state is State.SUCCEEDED
    again = {order.stage.value for order in world.pipelines.created if order.run_id == "fraud-1-r1"}
    assert not again & kept


def test_a_redrive_of_a_redrive_is_numbered_on() -> None:
    """Also for a model whose own name has `-r` in it."""
    policy = replace(World().policies["fraud"], model="card-risk", prefix="data/card-risk/")
    world = World({"card-risk": policy})
    world.stages.every(Stage.TRAIN, lambda order: failed(order, "a bug", permanent=True))
    world.land("a.csv", model="card-risk")
    world.until_rest("card-risk-1")
    world.operations.redrive("card-risk-1", Stage.TRAIN, "ann", "why")
    world.until_rest("card-risk-1-r1")
    assert world.operations.redrive("card-risk-1-r1", Stage.TRAIN, "ann", "why").id == "card-risk-1-r2"


def test_a_redrive_checks_that_what_it_reuses_is_still_there_and_unchanged() -> None:
    """Gone, or another hash: refused with the stage from which it would work."""
    world = broken(Stage.TRAIN)
    run = world.store.run("fraud-1")
    uri = run.output(Stage.PREPROCESS, "dataset")
    kept = world.files.bodies.pop(uri)
    with pytest.raises(OperationRefused, match="output dataset is gone"):
        world.operations.redrive("fraud-1", Stage.TRAIN, "ann", "why")
    world.files.bodies[f"{uri}/MANIFEST.json"] = kept
    people: Operations = world.operations
    people._verify_artifact("it", Artifact(uri))
    with pytest.raises(OperationRefused, match="was changed since it was reported"):
        people._verify_artifact("it", replace(Artifact(uri), sha256="0" * 64))


@pytest.mark.parametrize("state", [State.TRAINING], ids=lambda state: state.value)
def test_only_a_run_at_rest_is_redriven(state: State) -> None:
    """And only while nobody trains."""
    world = World()
    world.land("a.csv")
    until(world, state)
    with pytest.raises(OperationRefused, match="only a terminal run can be redriven"):
        world.operations.redrive("fraud-1", Stage.TRAIN, "ann", "why")
    world.until_rest("fraud-1")
    world.land("b.csv")
    until(world, state, "fraud-2")
    with pytest.raises(OperationRefused, match="fraud-2 is training fraud"):
        world.operations.redrive("fraud-1", Stage.TRAIN, "ann", "why")


def test_a_redrive_whose_champion_changed_is_evaluated_again() -> None:
    """Asked from deploy; but what it was measured against serves no more."""
    world = succeeded("a.csv")
    world.stages.script(Stage.DEPLOY, lambda order: failed(order, "no node", permanent=True))
    world.land("b.csv")
    assert world.until_rest("fraud-2").state is State.ROLLED_BACK
    world.land("c.csv")
    world.until_rest("fraud-3")
    world.operations.redrive("fraud-2", Stage.DEPLOY, "ann", "there is a node now")
    run = world.until_rest("fraud-2-r1")
    reasons = [entry.reason for entry in world.store.history("fraud-2-r1")]
    assert reasons[1] is TransitionReason.FROM_EVALUATE
    assert run.champion == world.store.run("fraud-3").candidate


# -- rollback, hold -------------------------------------------------------------------------------------------------


def test_a_rollback_never_waits_for_training() -> None:
    """It needs only the deploying slot; the training run goes on."""
    world = succeeded("a.csv", "b.csv")
    first = world.store.run("fraud-1").candidate
    world.land("c.csv")
    until(world, State.TRAINING, "fraud-3")
    world.stages.hanging.add(world.store.run("fraud-3").kfp_id)
    world.operations.rollback("fraud", first, "ann", "complaints")
    assert world.until_rest("fraud-rollback-3").state is State.SUCCEEDED
    assert world.stages.application.version == first
    assert world.store.run("fraud-3").state is State.TRAINING


def test_a_rollback_works_on_a_model_that_is_held() -> None:
    """A hold is often why somebody rolls back."""
    world = succeeded("a.csv", "b.csv")
    world.operations.hold("fraud", "ann", "complaints")
    world.operations.rollback("fraud", world.store.run("fraud-1").candidate, "ann", "complaints")
    assert world.until_rest("fraud-rollback-3").state is State.SUCCEEDED
    assert world.store.model("fraud").hold is not None


def test_a_rollback_is_refused_while_another_deploys_or_to_a_version_that_never_served() -> None:
    """With the reason; asked twice, it is the first one that runs."""
    world = succeeded("a.csv", "b.csv")
    with pytest.raises(OperationRefused, match="is not a version that ever served fraud; known: fraud-2-"):
        world.operations.rollback("fraud", "fraud-9-00000009", "ann", "why")
    first = world.store.run("fraud-1").candidate
    world.operations.rollback("fraud", first, "ann", "why")
    with pytest.raises(OperationRefused, match="fraud-rollback-3 is deploying fraud"):
        world.operations.rollback("fraud", first, "ann", "why")


def test_a_hold_stops_promotion_and_a_release_goes_on_with_it() -> None:
    """The run waits with its version, exported and tried; nothing is lost."""
    world = succeeded("a.csv")
    world.land("b.csv")
    until(world, State.TRAINING, "fraud-2")
    world.operations.hold("fraud", "ann", "audit")
    for _ in range(60):
        world.minute()
    run = world.store.run("fraud-2")
    assert run.state is State.SHADOWING
    assert world.store.model("fraud").hold is not None
    world.operations.release("fraud", "ann", "done")
    assert world.until_rest("fraud-2").state is State.SUCCEEDED


def test_holding_twice_keeps_the_first_reason() -> None:
    """And a hold says since when."""
    world = succeeded()
    world.operations.hold("fraud", "ann", "audit")
    held = world.operations.hold("fraud", "bob", "me too").hold
    assert held is not None
    assert (held.who, held.why, held.at) == ("ann", "audit", world.now)
    assert [told.who for told in world.store.model_acts("fraud")] == ["ann"]


def test_adopted_parameters_reach_the_next_run_with_their_provenance() -> None:
    """What tuning found; the configuration stays below it."""
    world = succeeded()
    world.operations.adopt("fraud", {"train": {"hidden_dim": 64}}, {"experiment": "katib-1"})
    world.land("b.csv")
    run = world.until_rest("fraud-2")
    assert run.parameters["train"] == {"hidden_dim": 64}
    assert world.store.model("fraud").parameters_from == {"experiment": "katib-1"}
    order = next(o for o in world.pipelines.created if o.run_id == "fraud-2" and o.stage is Stage.TRAIN)
    assert order.parameters["hidden_dim"] == 64
