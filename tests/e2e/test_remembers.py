"""The local system continues with its state after a stop, after the crash of any part, and after its own crash."""

import signal
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from local.aws.resources import DATA, client
from local.state_dir import StateDir
from local.system import System, SystemOptions
from simulation import quick_stages
from statemachine.bootstrap import bootstrap
from training.deployment.cluster import ClusterUnreachable
from training.deployment.verification import served_version

MODEL = "fraud"
SECONDS = 240.0
REGISTRY = Path(__file__).with_name("deaths.toml")


@contextmanager
def running(folder, say=print, registry=REGISTRY):
    """A system in that folder with the stages' work played, and its application."""
    options = SystemOptions(registry, tick_seconds=2.0, environment=quick_stages.environment())
    with pytest.MonkeyPatch.context() as patch, System(StateDir(folder), options, say) as system:
        for name, value in system.endpoints.environment.items():
            patch.setenv(name, value)
        yield system, bootstrap()


def land(system, name):
    client("s3", system.endpoints.urls["aws"]).put_object(Bucket=DATA, Key=f"data/fraud/{name}.csv", Body=name.encode())


def wait(holds, what):
    until = time.monotonic() + SECONDS
    while not (found := holds()):
        assert time.monotonic() < until, what
        time.sleep(0.1)
    return found


def rested(app, run_id):
    return wait(lambda: (run := app.store.load(run_id)) and run.state.terminal and run, f"{run_id} rests")


def serves(system):
    """Returns the version in Triton's configuration; "" while it does not answer."""
    try:
        return served_version(system.endpoints.urls["triton"].removeprefix("http://"), "fraud_score")
    except ClusterUnreachable:
        return ""


def remembered(app):
    """All that is on record of the model."""
    return (
        list(app.store.runs(MODEL)),
        [list(app.store.history(run.id)) for run in app.store.runs(MODEL)],
        app.store.model(MODEL),
        sorted(app.intake.objects(MODEL), key=lambda one: one.key),
        [(found.key, found.etag) for found in app.files.list(app.settings.artifacts_bucket, "")],
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which one run has succeeded, and whose system was then stopped; the tests follow each other in it."""
    folder = tmp_path_factory.mktemp("remembers") / "Zahlungen für Österreich" / "home"
    with running(folder) as (system, app):
        land(system, "1")
        assert rested(app, "fraud-1").state.value == "SUCCEEDED"
    return folder


@pytest.mark.timeout(600)
def test_a_stop_forgets_nothing(folder):
    """Runs, histories, champion, objects and files are the same after the next start, and the version serves."""
    with running(folder) as (system, app):
        before = remembered(app)
        champion = app.store.model(MODEL).champion.version
        wait(lambda: serves(system) == champion, "the champion serves")
    with running(folder) as (system, app):
        assert remembered(app) == before
        wait(lambda: serves(system) == champion, "the champion serves again")
        land(system, "2")
        assert rested(app, "fraud-2").state.value == "SUCCEEDED"


@pytest.mark.timeout(600)
def test_a_run_that_was_interrupted_ends_as_it_should(folder, tmp_path):
    """Stopped while a stage runs: KFP loses that launch, and the controller makes another attempt."""
    long = tmp_path / "fraudloop.toml"
    long.write_text(REGISTRY.read_text().replace("train = { least_seconds = 1", "train = { least_seconds = 60"))
    with running(folder, registry=long) as (system, app):
        land(system, "3")
        wait(lambda: (run := app.store.load("fraud-3")) and run.state.value == "TRAINING" and run.kfp_id, "it trains")
    with running(folder) as (system, app):
        run = rested(app, "fraud-3")
        assert run.state.value == "SUCCEEDED"
        assert run.attempts["train"] == 2
        wait(lambda: serves(system) == run.candidate, "its version serves")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", ["cloud", "kfp", "cluster", "dispatcher"])
def test_a_part_that_is_killed_comes_back(folder, part):
    """`kill -9`: it restarts on its ports, the restart is printed and recorded, and an active run succeeds."""
    messages: list[Any] = []
    with running(folder, messages.append) as (system, app):
        number = len(list(app.store.runs(MODEL))) + 1
        champion = app.store.model(MODEL).champion.version
        wait(lambda: serves(system) == champion, "the champion serves")
        land(system, str(number))
        wait(lambda: app.store.load(f"fraud-{number}"), "the run begins")
        before = system.pid(part)
        psutil.Process(before).send_signal(signal.SIGKILL)
        wait(lambda: f"{part} runs again" in messages, "it is started again")
        run = rested(app, f"fraud-{number}")
        assert run.state.value == "SUCCEEDED", run.reason
        wait(lambda: serves(system) == run.candidate, "the new version serves")
        assert f"{part} has ended (killed by SIGKILL); it is started again" in messages
        status = system.state_dir.parts()[part]
        assert (status["deaths"], status["last_death"]["how"]) == (1, "killed by SIGKILL")
        assert status["pid"] == system.pid(part) != before
        assert f"{part} runs again" in (system.state_dir.logs / "system.log").read_text()
        assert system.failure == ""
