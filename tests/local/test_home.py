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
    """The second is told which process runs the first, and leaves its files alone."""
    with pytest.raises(AlreadyRunning, match=str(holder.pid)):
        StateDir(tmp_path).take()
    assert StateDir(tmp_path).running()
    supervisor = StateDir(tmp_path).supervisor()
    assert supervisor is not None
    assert supervisor.pid == holder.pid


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


def entries(home):
    return sorted(entry.name for entry in home.path.iterdir())


def test_a_system_finds_what_the_one_before_left(tmp_path):
    """State and logs stay when it ends; where its endpoints were does not."""
    home = StateDir(tmp_path / "home")
    home.take()
    (home.path / "kfp").mkdir()
    (home.path / "kfp" / "runs.db").write_text("old")
    (home.logs / "kfp.log").write_text("old")
    home.publish(ENDPOINTS)
    home.leave()
    assert home.exists()
    home.take()
    assert entries(home) == ["format.json", "kfp", "lock", "logs", "processes.json"]
    assert (home.path / "kfp" / "runs.db").read_text() == (home.logs / "kfp.log").read_text() == "old"
    home.leave()


def test_a_fresh_system_begins_with_an_empty_folder(tmp_path):
    """Nothing of the one before is taken for new."""
    home = StateDir(tmp_path / "home")
    home.take()
    (home.path / "kfp").mkdir()
    home.leave()
    home.take(fresh=True)
    assert entries(home) == ["format.json", "lock", "logs", "processes.json"]
    home.leave()


def test_a_machine_that_lost_its_power_leaves_a_folder_that_works(tmp_path):
    """Dead process numbers, a torn file, a lock that nobody holds: the state is taken up."""
    home = StateDir(tmp_path / "home")
    home.take()
    (home.path / "kfp").mkdir()
    us = psutil.Process()
    assert home._lock is not None
    os.close(home._lock)
    (home.path / "processes.json").write_text(json.dumps({"cloud": {"pid": us.pid, "started": us.create_time() - 9}}))
    (home.path / "endpoints.json").write_text('{"urls": {"aws"')
    later = StateDir(home.path)
    assert later.endpoints() is None
    later.take()
    assert (later.path / "kfp").is_dir()
    later.leave()
    (home.path / "processes.json").write_text("")
    later.take()
    later.leave()


def test_state_of_another_version_is_refused_until_one_begins_fresh(tmp_path):
    """Its records may not be readable; it says what to type, and the folder stays as it was and free."""
    home = StateDir(tmp_path / "home")
    home.take()
    home.leave()
    (home.path / "format.json").write_text('{"format": 0}')
    with pytest.raises(LeftByAnotherVersion, match="fraudloop up --fresh"):
        home.take()
    assert not home.running()
    home.take(fresh=True)
    home.leave()


def test_a_folder_is_removed_only_if_nobody_runs_in_it(holder, tmp_path):
    """`fraudloop reset` while a system runs removes nothing."""
    with pytest.raises(AlreadyRunning):
        StateDir(tmp_path).remove()
    assert (tmp_path / "logs").is_dir()
    holder.kill()
    holder.wait()
    StateDir(tmp_path).remove()
    assert not tmp_path.exists()


def test_how_the_parts_are_is_told_while_the_system_runs(tmp_path):
    """And believed no longer than that."""
    home = StateDir(tmp_path / "home")
    home.take()
    told = {"kfp": {"deaths": 2, "pid": 7, "since": 1.0}}
    home.tell(told)
    assert StateDir(home.path).parts() == told
    home.leave()
    assert StateDir(home.path).parts() == {}


def test_what_a_killed_system_left_running_is_ended(tmp_path):
    """The processes on record, if they are still the same ones."""
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    home = StateDir(tmp_path)
    home.take()
    home.record({"cloud": left.pid})
    assert home._lock is not None
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
