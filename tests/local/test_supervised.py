"""The restart policy, on simulated parts."""

import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from local import supervised
from local.supervised import DEATHS, Supervisor
from local.system import PROGRAMS


class Played:
    """Parts of which some are dead; `lives` is how often a part can be restarted."""

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


def test_a_part_that_ended_is_restarted_and_reported():
    """With how it ended."""
    messages: list[str] = []
    parts = Played("kfp")
    Supervisor(parts, messages.append).look()
    assert parts.revived == ["kfp"]
    assert messages == ["kfp has ended (killed by SIGKILL); it is started again", "kfp runs again"]


def test_what_a_part_needs_is_started_before_it():
    """A dispatcher without a cloud would end again, so parts restart in their start order."""
    parts = Played("dispatcher", "kfp", "cloud")
    parts_dir = Supervisor(parts, lambda _: None)
    for _ in range(3):
        parts_dir.look()
    assert parts.revived == ["cloud", "kfp", "dispatcher"]


def test_too_many_deaths_of_a_part_end_supervision_with_the_reason():
    """The supervisor stops, and the other parts are not touched any more."""
    messages: list[str] = []
    parts = Played("kfp", lives=0)
    parts_dir = Supervisor(parts, messages.append)
    parts_dir.start()
    until = time.monotonic() + 10
    while not parts_dir.failure:
        assert time.monotonic() < until
        time.sleep(0.01)
    parts_dir.stop()
    assert parts.revived == ["kfp"] * (DEATHS - 1)
    assert parts_dir.failure == f"kfp ended {DEATHS} times within 120 s; the last time: killed by SIGKILL"
    assert "kfp did not start: it does not answer" in messages


def test_deaths_that_lie_far_apart_are_forgiven(monkeypatch):
    """A part may die more often than that over a week."""
    parts = Played()
    parts_dir = Supervisor(parts, lambda _: None)
    now = time.monotonic()
    for day in range(2 * DEATHS):
        monkeypatch.setattr("local.supervised.time.monotonic", lambda at=now + 86_400 * day: at)
        parts.dead.add("kfp")
        parts_dir.look()
    assert parts_dir.failure == ""
    assert len(parts.revived) == 2 * DEATHS


def test_a_stopped_supervisor_restarts_nothing():
    """Also during the pause before a restart."""
    parts = Played("kfp")
    parts_dir = Supervisor(parts, lambda _: None)
    parts_dir.stopping.set()
    parts_dir.look()
    assert parts.revived == []


def test_every_program_of_the_system_exists():
    """Seen: modules moved, `python -m local.cloud` remained, and no system started. Unit tests did not notice."""
    for module in PROGRAMS.values():
        spec = find_spec(module)
        assert spec is not None, module
        assert spec.origin is not None, module
        assert spec.submodule_search_locations or "__main__" in Path(spec.origin).read_text(), module
