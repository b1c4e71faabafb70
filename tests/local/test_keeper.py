"""The restart policy, on parts that are played."""

import time

import pytest

from local import supervised
from local.supervised import DEATHS, Keeper


class Played:
    """Parts of which some are dead; `lives` is how often a part can still be brought back to life."""

    def __init__(self, *dead, lives=99):
        self.dead, self.lives, self.revived = set(dead), lives, []

    def names(self):
        return ["cloud", "kfp", "dispatcher"]

    def ended(self, part):
        return "killed by SIGKILL" if part in self.dead else ""

    def revive(self, part):
        self.revived.append(part)
        self.lives -= 1
        if self.lives < 0:
            return "it does not answer"
        self.dead.discard(part)
        return ""


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(supervised, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(supervised, "LONGEST_PAUSE", 0.002)
    monkeypatch.setattr(supervised, "LOOK", 0.001)


def test_a_part_that_ended_is_started_again_and_that_is_said():
    """With how it ended."""
    parts, said = Played("kfp"), list[str]()
    Keeper(parts, said.append).look()
    assert parts.revived == ["kfp"]
    assert said == ["kfp has ended (killed by SIGKILL); it is started again", "kfp runs again"]


def test_what_a_part_needs_is_started_before_it():
    """A dispatcher without a cloud would only die once more: the order of the start counts."""
    parts = Played("dispatcher", "kfp", "cloud")
    kept = Keeper(parts, lambda _: None)
    for _ in range(3):
        kept.look()
    assert parts.revived == ["cloud", "kfp", "dispatcher"]


def test_a_part_that_ends_again_and_again_is_given_up_with_the_reason():
    """The keeper ends by itself, and the others are not touched any more."""
    parts, said = Played("kfp", lives=0), list[str]()
    kept = Keeper(parts, said.append)
    kept.start()
    until = time.monotonic() + 10
    while not kept.failure:
        assert time.monotonic() < until
        time.sleep(0.01)
    kept.stop()
    assert parts.revived == ["kfp"] * (DEATHS - 1)
    assert kept.failure == f"kfp ended {DEATHS} times within 120 s; the last time: killed by SIGKILL"
    assert "kfp did not start: it does not answer" in said


def test_deaths_that_lie_far_apart_are_forgiven(monkeypatch):
    """A part may die more often than that over a week."""
    parts = Played()
    kept = Keeper(parts, lambda _: None)
    now = time.monotonic()
    for day in range(2 * DEATHS):
        monkeypatch.setattr(time, "monotonic", lambda at=now + 86_400 * day: at)
        parts.dead.add("kfp")
        kept.look()
    assert kept.failure == ""
    assert len(parts.revived) == 2 * DEATHS


def test_a_keeper_that_is_told_to_stop_starts_nothing():
    """Also while it pauses before a restart."""
    parts = Played("kfp")
    kept = Keeper(parts, lambda _: None)
    kept.stopping.set()
    kept.look()
    assert parts.revived == []
