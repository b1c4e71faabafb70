"""The stored nightly slot: no bad value blocks it, and a nightly event overrides no operator."""

from dataclasses import replace

import pytest

from simulation.memory.driver import CrashDriver
from simulation.memory.stages import failed
from simulation.memory.world import World
from statemachine.contracts.report import Report
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from statemachine.core.run import Trigger
from statemachine.core.states import State
from statemachine.intake import _put_window

NIGHT, BEFORE = "2026-11-25T02:00:00Z", "2026-11-24T02:00:00Z"


def marked(world: World, marker: str) -> None:
    """The marker as a release that did not check it stored it."""
    window = world.intake.window("fraud")
    world.store.table.write(_put_window(replace(window, version=window.version + 1, last_slot=marker), "old"))


@pytest.mark.parametrize("marker", ["test", "2027-11-27T02:00:00Z", "9999", "zzz"])
def test_a_poisoned_marker_heals_with_the_next_night(marker: str) -> None:
    """All nights up to the one that is a year ahead counted as done, silently."""
    world = World()
    marked(world, marker)
    world.files.listed.append(world.object("data/fraud/a.csv"))
    CrashDriver(world).nightly_schedule(NIGHT)
    assert world.intake.window("fraud").last_slot == NIGHT
    assert world.store.load("fraud-1") is not None


def test_a_person_who_asks_heals_it_too() -> None:
    """Whatever is written next writes no poison on."""
    world = World()
    world.land("a.csv")
    marked(world, "2027-11-27T02:00:00Z")
    world.operations.start("fraud", "ann", "now")
    assert world.intake.window("fraud").last_slot == ""


def test_a_healed_marker_still_counts_a_night_once() -> None:
    """And an older one not at all."""
    world = World()
    marked(world, "test")
    assert world.intake.ask("fraud", Trigger("nightly", NIGHT), slot=NIGHT)
    assert not world.intake.ask("fraud", Trigger("nightly", NIGHT), slot=NIGHT)
    assert not world.intake.ask("fraud", Trigger("nightly", BEFORE), slot=BEFORE)


def test_a_start_by_a_person_is_not_overwritten_by_the_night() -> None:
    """She asked while a run trained. The nightly run finds nothing new and would skip; her run still starts."""
    world = World()
    world.stages.script(Stage.TRAIN, lambda order: None)
    world.land("a.csv")
    for _ in range(20):
        world.minute()
    assert world.store.run("fraud-1").state is State.TRAINING
    world.operations.start("fraud", "ann", "with the new labels")
    CrashDriver(world).nightly_schedule(NIGHT)
    asked = world.intake.window("fraud").asked
    assert asked == Trigger("person", "ann", "with the new labels")
    assert world.intake.window("fraud").last_slot == NIGHT
    world.stages.hanging.clear()
    world.stages.plays.clear()
    world.until_rest("fraud-1")
    world.minute()
    run = world.store.run("fraud-2")
    assert (run.trigger.kind, run.trigger.by) == ("person", "ann")


def test_a_person_takes_over_what_a_night_asked_for() -> None:
    """A nightly request that found a run training may be skipped later; an operator's start is not."""
    world = World()
    window = world.intake.window("fraud")
    world.store.table.write(_put_window(replace(window, version=1, asked=Trigger("nightly", NIGHT)), "night"))
    world.intake.ask("fraud", Trigger("person", "ann", "now"), slot="")
    assert world.intake.window("fraud").asked == Trigger("person", "ann", "now")
    world.intake.ask("fraud", Trigger("person", "bob", "me too"), slot="")
    assert world.intake.window("fraud").asked == Trigger("person", "ann", "now")


def test_three_outages_of_a_deploy_blacklist_no_content() -> None:
    """The candidate was never tested; the next nightly run deploys the same content."""
    world = World()
    world.land("a.csv")
    world.until_rest("fraud-1")
    world.stages.every(Stage.DEPLOY, lambda order: failed(order, "Argo CD does not answer"))
    world.land("b.csv")
    assert world.until_rest("fraud-2").state is State.ROLLED_BACK
    assert world.store.model("fraud").refused == ()


def test_a_candidate_that_was_seen_to_fail_is_blacklisted() -> None:
    """A golden request answered otherwise than offline, or the pods did not become healthy."""
    world = World()
    world.land("a.csv")
    world.until_rest("fraud-1")

    def mismatch(order: StageRequest) -> Report:
        world.stages.application.patch(order)
        observed = {"condition": "", "served": [{"pod": "t", "version": order.parameters["version"]}]}
        return failed(order, "it does not answer as it did offline", permanent=True, details=observed)

    world.stages.every(Stage.DEPLOY, mismatch)
    world.land("b.csv")
    run = world.until_rest("fraud-2")
    assert run.state is State.ROLLED_BACK
    assert world.store.model("fraud").refused == (run.candidate.rsplit("-", 1)[-1],)
