"""KFP writes CANCELING before it patches the workflow: if there is none, nothing ever ends such a run.

Upstream, resource_manager.go: `TerminateRun` commits `RuntimeStateCancelling`, then `TerminateWorkflow` fails, once
with 500; asked again the row is not RUNNING any more, which is InvalidArgument.
"""

from dataclasses import replace
from typing import Any

import pytest

from simulation.memory.world import World
from statemachine.contracts.errors import Unreachable
from statemachine.contracts.kfp_run import KfpRunState
from statemachine.contracts.stage import Stage
from statemachine.core.reason import TransitionReason
from statemachine.core.run import RequestKind, Run
from statemachine.core.states import State
from statemachine.reporting.notifications import metric_samples
from statemachine.store import put_run, run_key

FOR_EVER = 1e12


def training() -> tuple[World, Run]:
    """A run whose train launch hangs, and will never end once it is stopped."""
    world = World()
    world.stages.script(Stage.TRAIN, lambda order: None)
    world.land("a.csv")
    for _ in range(100):
        world.minute()
        run = world.store.load("fraud-1")
        if run and run.state is State.TRAINING and run.kfp_id:
            break
    world.pipelines.stopping = FOR_EVER
    return world, world.store.run("fraud-1")


def test_a_run_that_stays_canceling_counts_as_over_after_a_deadline() -> None:
    """Not before: its pod may still be working, and two would share a GPU."""
    world, run = training()
    asked = world.now
    world.operations.operator_request("fraud-1", RequestKind.CANCEL, "ann", "wrong data")
    ended = world.until_rest("fraud-1", minutes=80)
    assert ended.state is State.CANCELLED
    deadline = world.policies["fraud"].cancel_deadline
    assert deadline <= ended.entered_at - asked < deadline + 300
    assert world.pipelines.jobs[run.kfp_id].kfp_run.state is KfpRunState.CANCELING


def test_it_is_said_in_the_history_and_counted() -> None:
    """Somebody should look at KFP: the metric LaunchesStuck, which an alarm reads."""
    world, run = training()
    world.operations.operator_request("fraud-1", RequestKind.CANCEL, "ann", "wrong data")
    ended = world.until_rest("fraud-1", minutes=80)
    last = list(world.store.history("fraud-1"))[-1]
    assert f"KFP never ended {run.kfp_id}, which counts as over" in last.message
    assert last.message.startswith("cancelled by ann: wrong data")
    (stuck,) = [sample for sample in metric_samples(last, ended) if sample.name == "LaunchesStuck"]
    assert (stuck.value, stuck.dimensions) == (1, {"model": "fraud", "stage": "train"})


def test_the_next_attempt_begins_when_the_last_one_counts_as_over() -> None:
    """The run deadline stops it, KFP never ends it: the run is late, and not lost."""
    world, run = training()
    assert world.until_rest("fraud-1", minutes=300).state is State.SUCCEEDED
    reasons = [entry.reason for entry in world.store.history("fraud-1")]
    assert (TransitionReason.OVERDUE in reasons, reasons.count(TransitionReason.RETRYABLE_FAILURE)) == (True, 1)
    assert world.pipelines.jobs[run.kfp_id].kfp_run.state is KfpRunState.CANCELING


def test_a_launch_that_somebody_stops_in_the_ui_for_ever_is_given_up_too() -> None:
    """Nobody of us asked; the run deadline finds it, then the cancel deadline."""
    world, run = training()
    world.pipelines.stop(run.kfp_id)
    assert world.until_rest("fraud-1", minutes=300).state is State.SUCCEEDED


def test_a_deadline_of_one_attempt_is_not_the_next_ones() -> None:
    """Each attempt's launches get the whole deadline: the clock starts again with the attempt."""
    world, _ = training()
    world.operations.operator_request("fraud-1", RequestKind.CANCEL, "ann", "why")
    world.minute()
    world.minute()
    assert world.store.run("fraud-1").stopping_since > 0
    other, _ = training()
    for _ in range(300):
        other.minute()
        if other.store.run("fraud-1").attempt == 2 or other.store.run("fraud-1").state.terminal:
            break
    assert other.store.run("fraud-1").stopping_since == 0


@pytest.mark.parametrize("state", [KfpRunState.RUNNING, KfpRunState.PENDING, KfpRunState.PAUSED])
def test_what_works_never_counts_as_over(state: KfpRunState) -> None:
    """However long ago the first stop was: a duplicate that appears late is stopped."""
    world, run = training()
    job = world.pipelines.jobs[run.kfp_id]

    class Deaf:
        """Terminate is answered, and nothing changes."""

        def __getattr__(self, name: str) -> Any:
            return getattr(world.pipelines, name)

        def stop(self, kfp_id: str) -> None:
            job.kfp_run = replace(job.kfp_run, state=state)

    world.wire(world.table, Deaf(), world.files, world.hints)
    world.operations.operator_request("fraud-1", RequestKind.CANCEL, "ann", "why")
    for _ in range(200):
        world.minute()
    assert not world.store.run("fraud-1").state.terminal


def test_one_launch_that_cannot_be_stopped_holds_up_no_other() -> None:
    """KFP's 500 of the first is no reason to leave the second working."""
    world, run = training()
    order = world.pipelines.jobs[run.kfp_id].order
    world.table.items[run_key("fraud-1")] = put_run(replace(run, launch_ids=(*run.launch_ids, "twin")), "test").item
    duplicate = world.pipelines.create(replace(order, launch_id="twin"), run.pins["train"])
    world.stages.hanging.add(duplicate.kfp_id)
    asked = []

    class Faltering:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.pipelines, name)

        def stop(self, kfp_id: str) -> None:
            asked.append(kfp_id)
            if kfp_id == run.kfp_id:
                raise Unreachable("500")
            world.pipelines.stop(kfp_id)

    world.wire(world.table, Faltering(), world.files, world.hints)
    world.operations.operator_request("fraud-1", RequestKind.CANCEL, "ann", "why")
    world.minute()
    assert {run.kfp_id, duplicate.kfp_id} <= set(asked)
    assert world.pipelines.jobs[duplicate.kfp_id].kfp_run.state is KfpRunState.CANCELING
