import json
import os
import signal
import subprocess
import sys

import psutil
import pytest

from local.state_dir import AlreadyRunning, Endpoints, LeftByAnotherVersion, StateDir

HOLDER = """
import sys, time
from pathlib import Path
from local.state_dir import StateDir
home = StateDir(Path(sys.argv[1]))
home.take()
print("taken", flush=True)
time.sleep(60)
"""
ENDPOINTS = Endpoints({"aws": "http://127.0.0.1:1"}, {"FRAUDLOOP_TABLE": "fraudloop"})


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_two_systems_cannot_run_in_one_folder(holder, tmp_path):
    """The error names the process of the first system, and leaves its files alone."""
    with pytest.raises(AlreadyRunning, match=str(holder.pid)):
        StateDir(tmp_path).take()
    assert StateDir(tmp_path).running()
    supervisor = StateDir(tmp_path).supervisor()
    assert supervisor is not None
    assert supervisor.pid == holder.pid


def test_a_killed_owner_leaves_no_lock(holder, tmp_path):
    """After `kill -9` the folder is free, and its endpoints are not valid any more."""
    StateDir(tmp_path).publish(ENDPOINTS)
    assert StateDir(tmp_path).endpoints() == ENDPOINTS
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert not StateDir(tmp_path).running()
    assert StateDir(tmp_path).endpoints() is None
    state_dir = StateDir(tmp_path)
    state_dir.take()
    state_dir.leave()


def entries(state_dir):
    return sorted(entry.name for entry in state_dir.path.iterdir())


def test_a_system_finds_what_the_one_before_left(tmp_path):
    """State and logs stay when it ends; its endpoints do not."""
    state_dir = StateDir(tmp_path / "home")
    state_dir.take()
    (state_dir.path / "kfp").mkdir()
    (state_dir.path / "kfp" / "runs.db").write_text("old")
    (state_dir.logs / "kfp.log").write_text("old")
    state_dir.publish(ENDPOINTS)
    state_dir.leave()
    assert state_dir.exists()
    state_dir.take()
    assert entries(state_dir) == ["format.json", "kfp", "lock", "logs", "processes.json"]
    assert (state_dir.path / "kfp" / "runs.db").read_text() == (state_dir.logs / "kfp.log").read_text() == "old"
    state_dir.leave()


def test_a_fresh_system_begins_with_an_empty_folder(tmp_path):
    """No state of the last system is used."""
    state_dir = StateDir(tmp_path / "home")
    state_dir.take()
    (state_dir.path / "kfp").mkdir()
    state_dir.leave()
    state_dir.take(fresh=True)
    assert entries(state_dir) == ["format.json", "lock", "logs", "processes.json"]
    state_dir.leave()


def test_a_machine_that_lost_its_power_leaves_a_folder_that_works(tmp_path):
    """Stale process ids, a torn file, a lock without an owner: the state can be used."""
    state_dir = StateDir(tmp_path / "home")
    state_dir.take()
    (state_dir.path / "kfp").mkdir()
    us = psutil.Process()
    assert state_dir._lock is not None
    os.close(state_dir._lock)
    (state_dir.path / "processes.json").write_text(
        json.dumps({"cloud": {"pid": us.pid, "started": us.create_time() - 9}})
    )
    (state_dir.path / "endpoints.json").write_text('{"urls": {"aws"')
    later = StateDir(state_dir.path)
    assert later.endpoints() is None
    later.take()
    assert (later.path / "kfp").is_dir()
    later.leave()
    (state_dir.path / "processes.json").write_text("")
    later.take()
    later.leave()


def test_state_of_another_version_is_refused_until_one_begins_fresh(tmp_path):
    """Its records may be unreadable. The error names the command, and the folder stays unchanged and unlocked."""
    state_dir = StateDir(tmp_path / "home")
    state_dir.take()
    state_dir.leave()
    (state_dir.path / "format.json").write_text('{"format": 0}')
    with pytest.raises(LeftByAnotherVersion, match="fraudloop up --fresh"):
        state_dir.take()
    assert not state_dir.running()
    state_dir.take(fresh=True)
    state_dir.leave()


def test_a_folder_is_removed_only_if_nobody_runs_in_it(holder, tmp_path):
    """`fraudloop reset` removes nothing while a system runs."""
    with pytest.raises(AlreadyRunning):
        StateDir(tmp_path).remove()
    assert (tmp_path / "logs").is_dir()
    holder.kill()
    holder.wait()
    StateDir(tmp_path).remove()
    assert not tmp_path.exists()


def test_the_status_of_parts_is_available_while_the_system_runs(tmp_path):
    """And it is ignored afterwards."""
    state_dir = StateDir(tmp_path / "home")
    state_dir.take()
    status = {"kfp": {"deaths": 2, "pid": 7, "since": 1.0}}
    state_dir.record_status(status)
    assert StateDir(state_dir.path).parts() == status
    state_dir.leave()
    assert StateDir(state_dir.path).parts() == {}


def test_what_a_killed_system_left_running_is_ended(tmp_path):
    """The recorded processes, if they are still the same ones."""
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    state_dir = StateDir(tmp_path)
    state_dir.take()
    state_dir.record({"cloud": left.pid})
    assert state_dir._lock is not None
    os.close(state_dir._lock)  # as if its owner had been killed
    later = StateDir(tmp_path)
    later.take()
    assert not psutil.pid_exists(left.pid)
    later.leave()
    left.wait()


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    """A mistyped FRAUDLOOP_HOME must not delete other files."""
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match="FRAUDLOOP_HOME"):
        StateDir(tmp_path).take()
    assert (tmp_path / "thesis.tex").exists()


def test_a_client_of_the_system_is_a_client_of_no_other(monkeypatch):
    """An AWS profile or another deployment's variables do not affect clients of the local system."""
    monkeypatch.setattr(os, "environ", {"AWS_PROFILE": "prod", "FRAUDLOOP_TABLE": "prod", "PATH": "/bin"})
    ENDPOINTS.enter()
    assert os.environ == {"FRAUDLOOP_TABLE": "fraudloop", "PATH": "/bin"}
