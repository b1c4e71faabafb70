import os
import subprocess
import sys
import threading
import time
from dataclasses import replace

import psutil
import pytest

from local.demo.driver import Driver
from local.demo.run import OPTIONS
from local.state_dir import StateDir
from local.system import PIPELINES, System
from local.triton import missing_system_library
from statemachine.bootstrap import bootstrap


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups, also when this folder is named on the command line
def pytest_collection_modifyitems(items):
    """All of them in one process: there is one machine, and Triton takes half of it."""
    reason = missing()
    for item in items:
        if "tests/e2e/" in str(item.path):
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.xdist_group("e2e"))
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


def missing():
    """What this machine lacks for a whole system; "" if nothing."""
    if not (PIPELINES / "definitions.json").exists():
        return "the pipelines are not compiled: make build"
    return missing_system_library()


class Command:
    """`fraudloop …` as its own process, in a state folder of its own."""

    def __init__(self, folder, *arguments):
        self.state_dir = StateDir(folder)
        self.log = folder.with_name(f"{folder.name}.log")
        environment = os.environ | {"FRAUDLOOP_HOME": str(folder)}
        environment.pop("FRAUDLOOP_TABLE", None)
        with self.log.open("ab") as out:
            command = [sys.executable, "-m", "cli.main", *arguments]
            self.process = subprocess.Popen(command, stdout=out, stderr=out, env=environment, start_new_session=True)

    def ready(self, seconds=90):
        """Its endpoints, once it has some."""
        until = time.monotonic() + seconds
        while (endpoints := self.state_dir.endpoints()) is None:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.1)
        return endpoints

    def family(self):
        """All its processes."""
        us = psutil.Process(self.process.pid)
        return [us, *us.children(recursive=True)]


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """A running system with the demo's settings, for the tests of one module, which follow each other in it."""
    folder = tmp_path_factory.mktemp("local-system")
    with (
        pytest.MonkeyPatch.context() as patch,
        System(StateDir(folder / "home"), replace(OPTIONS, fresh=False)) as system,
    ):
        for name, value in system.endpoints.environment.items():
            patch.setenv(name, value)
        yield Driver(system, bootstrap(), print, threading.Event())


@pytest.fixture
def fraudloop(tmp_path):
    started = []

    def start(*arguments):
        started.append(Command(tmp_path / "home", *arguments))
        return started[-1]

    yield start
    for command in started:
        command.process.kill()
        command.process.wait()
