"""`up`, `down`, `reset`, and `watch` into a pipe, as far as no system has to start for them."""

import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from played_runs import HAPPY, played

from cli import connection
from cli.commands.system import _announce
from cli.output import console
from local.state_dir import Endpoints, StateDir
from local.system import ROOT
from statemachine.core.reason import TransitionReason
from statemachine.core.run import Transition
from statemachine.core.states import State


@pytest.fixture
def nothing_runs(monkeypatch, tmp_path):
    """No deployment named, and an empty state folder."""
    monkeypatch.delenv("FRAUDLOOP_TABLE", raising=False)
    monkeypatch.setenv("FRAUDLOOP_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def lived(folder):
    """A folder in which a system has been."""
    home = StateDir(folder)
    home.take()
    home.leave()
    return home


def test_up_demo_without_a_demo_says_what_to_type(fraudloop, nothing_runs):
    """One sentence, status 1."""
    result = fraudloop("up", "--demo")
    assert result.exit_code == 1
    assert "fraudloop demo" in result.stderr


def test_after_a_demo_the_other_commands_say_how_to_look_at_it(fraudloop, nothing_runs):
    """Nothing runs, but something is there."""
    assert "--demo" not in fraudloop("runs").stderr
    lived(connection.demo_home().path)
    assert "fraudloop up --demo" in fraudloop("runs").stderr


def test_commands_speak_to_the_system_that_runs(nothing_runs):
    """The usual one first; the demo's if only that one runs."""
    demo, usual = connection.demo_home(), connection.home()
    assert demo.path == nothing_runs.with_name("home-demo")
    assert connection.running_home().path == usual.path
    demo.take()
    assert connection.running_home().path == demo.path
    usual.take()
    assert connection.running_home().path == usual.path
    usual.leave()
    demo.leave()


def test_reset_removes_both_folders_after_it_asked(fraudloop, nothing_runs):
    """A no keeps everything; --yes does not ask; with nothing there it is no error."""
    folders = [lived(nothing_runs), lived(connection.demo_home().path)]
    assert fraudloop("reset").exit_code == 1, "nobody answered"
    assert all(home.exists() for home in folders)
    assert fraudloop("reset", "--yes").exit_code == 0
    assert not any(home.path.exists() for home in folders)
    assert "nothing to remove" in fraudloop("reset", "--yes").stdout


def test_reset_leaves_alone_what_is_not_ours(fraudloop, nothing_runs):
    """A mistyped FRAUDLOOP_HOME must not cost anybody's files."""
    nothing_runs.mkdir()
    (nothing_runs / "thesis.tex").write_text("years of work")
    assert fraudloop("reset", "--yes").exit_code == 1
    assert (nothing_runs / "thesis.tex").exists()


def test_watch_into_a_pipe_streams_a_line_a_step(system):
    """`fraudloop watch RUN | cat`: each step when it happens, not all of them at the end."""
    played(system, path=HAPPY[:3])
    command = [sys.executable, "-m", "cli.main", "watch", "fraud-1", "--every", "0.1"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as watching:
        assert watching.stdout is not None
        first = [watching.stdout.readline().split()[1] for _ in range(3)]
        assert first == [state for state, *_ in HAPPY[:3]]
        assert watching.poll() is None
        run = system.store.run("fraud-1")
        model = system.store.model("fraud")
        finish(system, run, model)
        rest = watching.stdout.read()
    assert watching.returncode == 1
    assert "CANCELLED" in rest.splitlines()[0]
    assert "fraud-1 (fraud) is CANCELLED" in rest


def finish(system, run, model):
    """The run is cancelled now."""
    at = time.time()
    entry = Transition(run.id, run.version + 1, at, run.state.value, "CANCELLED", TransitionReason.CANCELLED, "enough")
    done = replace(run, state=State.CANCELLED, version=run.version + 1, entered_at=at, reason="enough")
    system.store.move(done, replace(model, training=""), model, entry)


def test_up_tells_how_to_call_it_from_any_path(fraudloop, nothing_runs, monkeypatch):
    """Commands to copy are quoted for a shell, paths are no markup."""
    folder = StateDir(nothing_runs.with_name("a [bold]b"))
    folder.take()
    folder.publish(Endpoints({"aws": "http://127.0.0.1:1"}, {}))
    monkeypatch.setattr(sys, "executable", "/opt/with space/bin/python")
    with console.capture() as told:
        _announce(folder, as_json=False)
    folder.leave()
    assert "'/opt/with space/bin/fraudloop' watch" in told.get()
    assert "a [bold]b" in told.get()
    assert "http://127.0.0.1:1" in told.get()
    assert "fraudloop reset" in told.get()
