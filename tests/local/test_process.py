import os
import signal
import subprocess
import sys
import threading
import time
from http.server import HTTPServer, SimpleHTTPRequestHandler

import psutil
import pytest

from local.process import Identity, answers, end, serving, spawn, sweep
from local.state_dir import StateDir
from local.system import DidNotStart, System
from training.ports import free_port

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)",
]
PARENT = [
    sys.executable,
    "-c",
    "import subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    "print(child.pid, flush=True); time.sleep(60)",
]


def gone(pid, seconds=5.0):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def first_line(log):
    for _ in range(250):
        if "\n" in (text := log.read_text()):
            return text.splitlines()[0]
        time.sleep(0.02)
    raise AssertionError("nothing was printed")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_dies_with_its_parent(number):
    """However the parent ends, and although the child has its own session."""
    program = f"""
import subprocess, time
from local.process import spawn
print(spawn({SLEEPER!r}, log=subprocess.DEVNULL).pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    child = int(parent.stdout.readline())
    assert psutil.pid_exists(child)
    os.kill(parent.pid, number)
    parent.wait()
    parent.stdout.close()
    assert gone(child)


def test_a_child_outlives_the_thread_that_started_it():
    """PR_SET_PDEATHSIG fires when the forking thread exits, so that must not be the caller's thread."""
    from threading import Thread

    made = []
    starter = Thread(target=lambda: made.append(spawn(SLEEPER, log=subprocess.DEVNULL)))
    starter.start()
    starter.join()
    time.sleep(0.3)
    assert made[0].poll() is None
    end(made[0])


def test_end_kills_who_does_not_stop(tmp_path):
    """SIGTERM first, SIGKILL after the grace period."""
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = spawn(STUBBORN, log=out)
    first_line(log)
    end(process, grace=0.3)
    assert process.returncode == -signal.SIGKILL


def test_end_takes_the_whole_group(tmp_path):
    """Children of the child are ended, too."""
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = spawn(PARENT, log=out)
    grandchild = int(first_line(log))
    end(process)
    assert gone(grandchild)


def test_sweep_ends_the_very_process_and_no_other(tmp_path):
    """A process that reuses the id is left alone."""
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = spawn(PARENT, log=out)
    grandchild = int(first_line(log))
    identity = Identity.of(process.pid)
    assert not sweep(Identity(identity.pid, identity.started - 100))
    assert process.poll() is None
    assert sweep(identity)
    assert gone(process.pid)
    assert gone(grandchild)
    process.wait()
    assert not sweep(identity)


@pytest.fixture
def other():
    """The port of another program's server, which answers everything."""
    with HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_a_server_that_is_served_is_the_one_that_was_started(tmp_path):
    url = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", url.rpartition(":")[2]]
    with serving(command, url, tmp_path / "log"):
        assert answers(url)
    assert not answers(url)


def test_another_programs_answer_is_not_taken_for_the_servers(other, tmp_path):
    with (
        pytest.raises(ChildProcessError, match="does not answer"),
        serving(SLEEPER, f"http://127.0.0.1:{other}", tmp_path / "log", 1.0),
    ):
        pass


def test_a_part_whose_port_is_another_programs_says_so(other, tmp_path, monkeypatch):
    """It does not go on with the other's answers: a pipeline was once published to a second system's AWS."""
    monkeypatch.setattr("local.system.missing_system_library", str)
    monkeypatch.setattr("local.system.free_port", lambda: other)
    with pytest.raises(DidNotStart, match=r"(?s)cloud ended .*in use"), System(StateDir(tmp_path / "home")):
        pass
