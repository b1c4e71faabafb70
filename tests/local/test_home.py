import os
import signal
import subprocess
import sys

import psutil
import pytest

from local.state_dir import AlreadyRunning, Endpoints, StateDir

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
    """The second is told which process runs the first, and leaves its files alone."""
    with pytest.raises(AlreadyRunning, match=str(holder.pid)):
        StateDir(tmp_path).take()
    assert StateDir(tmp_path).running()
    assert StateDir(tmp_path).supervisor().pid == holder.pid


def test_a_killed_owner_leaves_no_lock(holder, tmp_path):
    """After `kill -9` the folder is free, and what was published is not believed any more."""
    StateDir(tmp_path).publish(ENDPOINTS)
    assert StateDir(tmp_path).endpoints() == ENDPOINTS
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert not StateDir(tmp_path).running()
    assert StateDir(tmp_path).endpoints() is None
    home = StateDir(tmp_path)
    home.take()
    home.leave()


def test_a_system_begins_with_an_empty_folder(tmp_path):
    """What the one before left is gone, so that nothing of it is taken for new."""
    home = StateDir(tmp_path / "home")
    home.take()
    (home.path / "kfp").mkdir()
    (home.path / "kfp" / "runs.db").write_text("old")
    home.leave()
    home.take()
    assert sorted(entry.name for entry in home.path.iterdir()) == ["lock", "logs", "processes.json"]
    home.leave()


def test_what_a_killed_system_left_running_is_ended(tmp_path):
    """The processes on record, if they are still the same ones."""
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    home = StateDir(tmp_path)
    home.take()
    home.record({"cloud": left.pid})
    os.close(home._lock)  # as if its owner had been killed
    later = StateDir(tmp_path)
    later.take()
    assert not psutil.pid_exists(left.pid)
    later.leave()
    left.wait()


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    """A mistyped FRAUDLOOP_HOME must not cost anybody's files."""
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match="FRAUDLOOP_HOME"):
        StateDir(tmp_path).take()
    assert (tmp_path / "thesis.tex").exists()


def test_a_client_of_the_system_is_a_client_of_no_other(monkeypatch):
    """An AWS profile or another deployment's variables do not reach into the local system."""
    monkeypatch.setattr(os, "environ", {"AWS_PROFILE": "prod", "FRAUDLOOP_TABLE": "prod", "PATH": "/bin"})
    ENDPOINTS.enter()
    assert os.environ == {"FRAUDLOOP_TABLE": "fraudloop", "PATH": "/bin"}
