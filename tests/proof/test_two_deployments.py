"""Two deployments in one KFP, or one after the other: nobody adopts, stops or crowns what it did not launch."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from simulation.memory.kfp import MemoryPipelines
from simulation.memory.stages import failed
from simulation.memory.table import MemoryTable
from simulation.memory.world import World
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from statemachine.core.run import RequestKind, Run
from statemachine.core.states import State
from statemachine.store import DEPLOYMENT, Store


def beside(world: World, ids: int = 1_000_000) -> World:
    """Another stack of the same models, with a table of its own, in the same KFP, buckets and experiment."""
    other = World(dict(world.policies), now=world.now, ids=ids)
    other.pipelines, other.files = world.pipelines, world.files
    other.stages.pipelines, other.stages.files, other.stages.hanging = (
        world.pipelines,
        world.files,
        world.stages.hanging,
    )
    other.wire(other.table, other.pipelines, other.files, other.hints)
    return other


def pass_together(worlds: tuple[World, ...], minutes: int = 60, seconds: float = 60) -> None:
    """Minutes in both; the pods are shared."""
    for _ in range(minutes):
        for world in worlds:
            world.now += seconds
        worlds[0].stages.run()
        for world in worlds:
            world.tick()
            world.deliver()


def kfp_runs(pipelines: MemoryPipelines, name: str) -> list[StageRequest]:
    return [order for order in pipelines.created if order.name == name]


def alone(run: Run, order: StageRequest) -> bool:
    return order.launch_id in run.launch_ids


def test_two_stacks_that_share_kfp_and_bucket_train_each_its_own() -> None:
    """Both have a `fraud-1`, at the same time, in one experiment: each is launched, read and ended by its own stack."""
    one = World()
    two = beside(one)
    one.land("a.csv")
    two.land("b.csv")
    pass_together((one, two))
    first, second = one.store.run("fraud-1"), two.store.run("fraud-1")
    assert (first.state, second.state) == (State.SUCCEEDED, State.SUCCEEDED)
    assert not {*first.launch_ids} & {*second.launch_ids}
    assert first.deployment != second.deployment
    for stage in (Stage.PREPROCESS, Stage.TRAIN, Stage.EVALUATE, Stage.EXPORT, Stage.SHADOW, Stage.DEPLOY):
        assert len(kfp_runs(one.pipelines, f"fraud-1.{stage.value}.1")) == 2
    assert first.output(Stage.TRAIN, "model") != second.output(Stage.TRAIN, "model")
    assert (first.manifest, b"a.csv" in one.files.bodies[first.manifest]) == (first.manifest, True)
    assert (first.manifest == second.manifest, b"b.csv" in two.files.bodies[second.manifest]) == (False, True)


def test_cancelling_a_run_stops_no_other_stacks() -> None:
    """Before a run ends its launches are stopped, and two runs share the name."""
    one = World()
    two = beside(one)
    for world in (one, two):
        world.stages.every(Stage.TRAIN, lambda order: None)
        world.land("a.csv")
    pass_together((one, two), 20)
    assert one.store.run("fraud-1").state is two.store.run("fraud-1").state is State.TRAINING
    one.operations.operator_request("fraud-1", RequestKind.CANCEL, "ann", "mine")
    pass_together((one, two), 5)
    assert one.store.run("fraud-1").state is State.CANCELLED
    assert [alone(two.store.run("fraud-1"), job.order) for job in one.pipelines.working()] == [True]


def test_a_run_that_rests_does_not_wait_for_another_stacks_launches() -> None:
    """Nor is another attempt held up by them."""
    one = World()
    two = beside(one)
    two.stages.every(Stage.TRAIN, lambda order: None)
    one.stages.plays = two.stages.plays  # the shared pods are played by the first world
    one.stages.every(
        Stage.TRAIN, lambda order: None if order.launch_id.startswith(two.store.deployment()) else failed(order, "x")
    )
    for world in (one, two):
        world.land("a.csv")
    pass_together((one, two), 100)
    assert one.store.run("fraud-1").state is State.FAILED
    assert two.store.run("fraud-1").attempts["train"] >= 1


@pytest.mark.parametrize("bucket_kept", [True, False])
def test_a_stack_made_anew_trains_and_crowns_nothing_old(bucket_kept: bool) -> None:
    """The table is lost, KFP still has `fraud-1.*`, all SUCCEEDED with their reports: that promoted an old model."""
    old = World()
    old.land("a.csv")
    former = old.until_rest("fraud-1")
    new = beside(old)
    if not bucket_kept:
        new.files.bodies.clear()
    before = len(old.pipelines.created)
    new.land("b.csv")
    run = new.until_rest("fraud-1")
    assert run.state is State.SUCCEEDED
    assert [order.stage for order in old.pipelines.created[before:]] == [
        *(Stage.PREPROCESS, Stage.TRAIN, Stage.EVALUATE, Stage.EXPORT, Stage.SHADOW, Stage.DEPLOY)
    ]
    assert not {*run.launch_ids} & {*former.launch_ids}
    assert b"b.csv" in new.files.bodies[run.manifest]


def test_a_new_table_leaves_what_the_old_one_left_working_alone() -> None:
    """A launch of the former stack hangs under the name that the new one needs."""
    old = World()
    old.stages.script(Stage.TRAIN, lambda order: None)
    old.land("a.csv")
    pass_together((old,), 20)
    (hanging,) = old.pipelines.working("fraud-1.train.1")
    new = beside(old)
    new.land("b.csv")
    assert new.until_rest("fraud-1").state is State.SUCCEEDED
    assert [job.kfp_run.kfp_id for job in old.pipelines.working()] == [hanging.kfp_run.kfp_id]


def restored(world: World, backup: dict[Any, Any]) -> World:
    """The same stack on its table as it was at the backup; KFP and S3 are as they are now. No id is drawn twice."""
    again = beside(world, world.ids + 1_000)
    again.table.items = deepcopy(backup)
    again.stages.applications = world.stages.applications
    return again


@pytest.mark.parametrize("state", [State.QUEUED, State.PREPROCESSING, State.TRAINING, State.EXPORTING, State.DEPLOYING])
def test_a_table_restored_from_a_backup_adopts_nothing_launched_after_it(state: State) -> None:
    """Same deployment, run and attempt: but what the backup does not know of was never asked for by its record."""
    world = World()
    world.land("a.csv")
    backup: dict[Any, Any] = {}
    for _ in range(200):
        run = world.store.load("fraud-1")
        if run and run.state is state and not run.kfp_id and not run.claim:
            backup = deepcopy(world.table.items)
            break
        if not world.hints.queue:
            world.now += 10
            world.stages.run()
            world.tick()
        world.deliver(1)
    before = world.until_rest("fraud-1")
    known = {order.launch_id for order in world.pipelines.created}
    again = restored(world, backup)
    run = again.until_rest("fraud-1")
    assert run.deployment == before.deployment
    assert run.state is State.SUCCEEDED
    begun_with = {*Store(MemoryTable(items=backup), str).run("fraud-1").launch_ids}
    assert not ({*run.launch_ids} - begun_with) & known


def test_a_run_that_comes_again_after_a_restore_has_launches_of_its_own() -> None:
    """`fraud-2` was not in the backup: the restored table makes it again, and KFP holds the old `fraud-2.*`."""
    world = World()
    world.land("a.csv")
    world.until_rest("fraud-1")
    backup = deepcopy(world.table.items)
    world.land("b.csv")
    lost = world.until_rest("fraud-2")
    again = restored(world, backup)
    again.land("c.csv")
    run = again.until_rest("fraud-2")
    assert (run.id, run.deployment, run.state) == (lost.id, lost.deployment, State.SUCCEEDED)
    assert not {*run.launch_ids} & {*lost.launch_ids}
    assert b"c.csv" in again.files.bodies[run.manifest]


def test_a_proof_from_before_a_restore_crowns_nobody() -> None:
    """The backup is of a deploy with its launch on record; another version was deployed since. It is proven anew."""
    world = World()
    world.stages.every(Stage.DEPLOY, lambda order: replace(world.stages.release(order), finished_at=world.now))
    world.land("a.csv")
    for _ in range(100):
        world.minute(10)
        run = world.store.load("fraud-1")
        if run and run.state is State.DEPLOYING and run.kfp_id:
            break
    backup = deepcopy(world.table.items)
    world.until_rest("fraud-1")
    world.land("b.csv")
    assert world.until_rest("fraud-2").state is State.SUCCEEDED
    world.now += 86_400
    again = restored(world, backup)
    again.stages.every(Stage.DEPLOY, again.stages.release)
    run = again.until_rest("fraud-1")
    assert (run.state, run.attempts["deploy"]) == (State.SUCCEEDED, 3)  # the old one, one that was fenced, one above it
    champion = again.store.model("fraud").champion
    assert champion is not None
    assert again.stages.application.version == champion.version == run.candidate


def test_the_deployment_id_is_drawn_once_and_kept() -> None:
    """Also when two Lambdas draw it at the same moment."""
    world = World()
    drawn = world.store.deployment()
    assert drawn == world.store.deployment() == world.table.items[DEPLOYMENT]["id"]
    assert len(drawn) == 8

    class Late(MemoryTable):
        """Somebody else writes between our look and our write."""

        def write(self, *puts: Any) -> None:
            if DEPLOYMENT not in self.items:
                self.items[DEPLOYMENT] = {"id": "ffffffff", "writer": "another"}
            super().write(*puts)

    assert Store(Late(), world.new_id).deployment() == "ffffffff"


def test_a_launch_id_names_its_deployment() -> None:
    """So KFP's parameters, the S3 folder and the report say whose it is."""
    world = World()
    world.land("a.csv")
    run = world.until_rest("fraud-1")
    for order in world.pipelines.created:
        assert order.launch_id.startswith(f"{run.deployment}-")
        assert order.output_uri.endswith(f"/{order.launch_id}")


def test_a_listing_reaches_no_further_back_than_the_run() -> None:
    """KFP reads the manifest of each run that it looks at: 20,000 old ones cost 22 s a page."""
    world = World()
    asked: list[float] = []

    class Listening:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.pipelines, name)

        def list(self, prefix: str, since: float = 0.0) -> Any:
            asked.append(since)
            return world.pipelines.list(prefix, since)

    world.wire(world.table, Listening(), world.files, world.hints)
    world.land("a.csv")
    run = world.until_rest("fraud-1")
    assert asked
    assert all(since == run.created_at - 900 for since in asked)


def test_an_adopted_launch_is_awaited_although_no_experiment_lists_it() -> None:
    """The experiment was renamed while the run worked (its default is the stack's name now): GetRun still finds it."""
    world = World()
    world.stages.every(Stage.TRAIN, lambda order: None)
    world.land("a.csv")
    pass_together((world,), 20)
    run = world.store.run("fraud-1")

    class Renamed:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.pipelines, name)

        def list(self, *_: Any) -> tuple[()]:
            return ()

    world.wire(world.table, Renamed(), world.files, world.hints)
    world.operations.operator_request("fraud-1", RequestKind.CANCEL, "ann", "why")
    assert world.until_rest("fraud-1").state is State.CANCELLED
    assert world.pipelines.jobs[run.kfp_id].kfp_run.state.over


def test_a_run_before_deployments_had_ids_goes_on_by_name() -> None:
    """The release before kept no launches: its run in flight adopts the launch of its name and starts no other."""
    world = World()
    world.stages.script(Stage.TRAIN, lambda order: None)
    world.land("a.csv")
    pass_together((world,), 20)
    run = world.store.run("fraud-1")
    job = world.pipelines.jobs[run.kfp_id]
    job.kfp_run = replace(job.kfp_run, launch_id="0123456789ab")
    old = replace(run, deployment="", launch_ids=(), kfp_id="", launch_id="")
    world.store.defer(old, world.now, "")
    world.minute()
    assert world.store.run("fraud-1").launch_id == "0123456789ab"
    assert len(kfp_runs(world.pipelines, "fraud-1.train.1")) == 1
