"""A run's life at the embedded endpoint when something goes wrong: terminated, killed, the server dying, faults."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import kfp_server_api as api
import psutil
import pytest
import urllib3
from kfp import compiler, dsl

from local.kfp import EmbeddedKFP
from simulation.kfp_faults import inject

pytestmark = pytest.mark.xdist_group("kfp-runs")

SECONDS = 30.0
ROOT = Path(__file__).parents[2]


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def work(seconds: float, stubborn: bool):
    import os
    import signal
    import time

    if stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("pid", os.getpid(), flush=True)
    time.sleep(seconds)


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def after(status: dsl.PipelineTaskFinalStatus):
    print("exit handler")


@dsl.pipeline(name="working")
def working(seconds: float, stubborn: bool = False):
    with dsl.ExitHandler(after().set_caching_options(False)):
        work(seconds=seconds, stubborn=stubborn).set_caching_options(False)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    path = tmp_path_factory.mktemp("package") / "working.yaml"
    compiler.Compiler().compile(working, str(path))
    return path


class Driver:
    """`kfp_server_api` on one endpoint, with the pipeline uploaded."""

    def __init__(self, url, package):
        self.client = api.ApiClient(api.Configuration(host=url))
        self.client.configuration.retries = False  # a lost answer is ours to see
        self.runs = api.RunServiceApi(self.client)
        self.package = str(package)
        self.pipeline = self.version = None

    def upload(self):
        uploads = api.PipelineUploadServiceApi(self.client)
        self.pipeline = uploads.upload_pipeline(self.package, name="working").pipeline_id
        versions = api.PipelineServiceApi(self.client).pipeline_service_list_pipeline_versions(self.pipeline)
        self.version = versions.pipeline_versions[0].pipeline_version_id
        return self

    def create(self, name="fraud-1.train.1", **parameters):
        reference = api.V2beta1PipelineVersionReference(self.pipeline, self.version)
        run = api.V2beta1Run(
            display_name=name,
            pipeline_version_reference=reference,
            runtime_config=api.V2beta1RuntimeConfig(parameters=parameters),
        )
        return self.runs.run_service_create_run(run).run_id

    def state(self, run_id):
        return self.runs.run_service_get_run(run_id).state

    def named(self, name):
        predicate = {"operation": "EQUALS", "key": "display_name", "stringValue": name}
        return self.runs.run_service_list_runs(filter=json.dumps({"predicates": [predicate]})).runs or []

    def wait(self, run_id, *states):
        until = time.monotonic() + SECONDS
        while (state := self.state(run_id)) not in states:
            assert time.monotonic() < until, f"still {state}"
            time.sleep(0.02)
        return self.runs.run_service_get_run(run_id)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with EmbeddedKFP(tmp_path_factory.mktemp("kfp"), tick=0, grace=0.5) as running:
        yield running


@pytest.fixture(scope="module")
def driver(server, package):
    return Driver(server.url, package).upload()


def step_pid(log):
    """The component's own process, once it has said its number."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        with suppress(FileNotFoundError, IndexError, ValueError):
            return int(log.read_text().split("pid ")[1].splitlines()[0])
        time.sleep(0.02)
    raise AssertionError(f"{log} names no process")


def gone(pid):
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        with suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.02)
                continue
        return True
    return False


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_terminated_run_ends_as_failed_by_way_of_canceling(server, driver, stubborn):
    """Its processes are gone when it is FAILED, also one that ignores SIGTERM; no exit handler begins any more."""
    run_id = driver.create(seconds=60.0, stubborn=stubborn)
    pid = step_pid(server.log_of(run_id))
    driver.runs.run_service_terminate_run(run_id)
    ended = driver.wait(run_id, "FAILED")
    assert [one.state for one in ended.state_history] == ["PENDING", "RUNNING", "CANCELING", "FAILED"]
    assert gone(pid)
    assert "exit handler" not in server.log_of(run_id).read_text()


def test_what_is_canceling_or_over_cannot_be_terminated(server, driver):
    """The real server answers with an error, so the caller must know from its own record what it has asked to stop."""
    run_id = driver.create(seconds=60.0, stubborn=True)
    step_pid(server.log_of(run_id))
    driver.runs.run_service_terminate_run(run_id)
    for state in ("CANCELING", "FAILED"):
        driver.wait(run_id, state)
        with pytest.raises(api.ApiException) as refused:
            driver.runs.run_service_terminate_run(run_id)
        assert refused.value.status == 400
        assert "Row not found" in refused.value.body  # run_store.go, TerminateRun


def test_a_run_that_waits_for_its_turn_can_be_terminated(tmp_path, package):
    """It has no process yet, and never gets one."""
    with EmbeddedKFP(tmp_path, tick=0, parallelism=1, grace=0.2) as server:
        driver = Driver(server.url, package).upload()
        first, second = driver.create(seconds=60.0), driver.create(seconds=60.0)
        step_pid(server.log_of(first))
        assert driver.state(second) == "PENDING"
        driver.runs.run_service_terminate_run(second)
        assert driver.wait(second, "FAILED").run_details is None


def test_a_failed_run_can_be_retried_under_its_own_id(server, driver):
    """Retry brings a failed run back; for one that succeeded upstream answers 500 (resource_manager.go, RetryRun)."""
    run_id = driver.create(seconds=60.0)
    step_pid(server.log_of(run_id))
    driver.runs.run_service_terminate_run(run_id)
    driver.wait(run_id, "FAILED")
    driver.runs.run_service_retry_run(run_id)
    driver.wait(run_id, "RUNNING")
    driver.runs.run_service_terminate_run(run_id)
    driver.wait(run_id, "FAILED")
    fine = driver.create(seconds=0.0)
    driver.wait(fine, "SUCCEEDED")
    with pytest.raises(api.ApiException, match="500"):
        driver.runs.run_service_retry_run(fine)


def test_display_names_are_not_unique(driver):
    """Two creates of one name are two runs: the caller has to find duplicates."""
    ids = {driver.create("same", seconds=0.0) for _ in range(2)}
    assert {run.run_id for run in driver.named("same")} == ids


def test_a_killed_run_process_fails_the_run_and_leaves_no_orphan(server, driver):
    """As when a node is lost: KFP shows FAILED, and the component's process goes too."""
    run_id = driver.create(seconds=60.0)
    pid = step_pid(server.log_of(run_id))
    os.kill(os.getpgid(pid), signal.SIGKILL)  # the group's leader is the run
    driver.wait(run_id, "FAILED")
    assert gone(pid)


def test_a_lost_worker_is_replaced(tmp_path, package):
    """Its runs fail and die, and the next run finds a new worker."""
    with EmbeddedKFP(tmp_path, tick=0) as server:
        driver = Driver(server.url, package).upload()
        run_id = driver.create(seconds=60.0)
        pid = step_pid(server.log_of(run_id))
        psutil.Process(os.getpgid(pid)).parent().kill()
        driver.wait(run_id, "FAILED")
        assert gone(pid)
        driver.wait(driver.create(seconds=0.0), "SUCCEEDED")


@pytest.fixture
def serve(tmp_path):
    """Starts `python -m local.kfp` as its own process."""
    started = []

    def go():
        command = [sys.executable, "-m", "local.kfp", "--state", str(tmp_path / "state"), "--port", "0"]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().split(" on ")[1].split(";")[0]

    yield go
    for process in started:
        process.kill()
        process.communicate()  # it closes the pipe, too


def test_a_server_that_is_killed_leaves_no_orphan_and_its_successor_knows_all(serve, tmp_path, package):
    """Uploads and finished runs are still there, what was executing is FAILED, and its processes are dead."""
    process, url = serve()
    driver = Driver(url, package).upload()
    done = driver.create("done", seconds=0.0)
    driver.wait(done, "SUCCEEDED")
    executing = driver.create("executing", seconds=60.0)
    pid = step_pid(tmp_path / "state" / "runs" / executing / "log.txt")
    process.kill()
    process.wait()
    assert gone(pid)
    _, url = serve()
    again = Driver(url, package)
    again.pipeline, again.version = driver.pipeline, driver.version
    assert again.state(done) == "SUCCEEDED"
    failed = again.runs.run_service_get_run(executing)
    assert (failed.state, failed.runtime_config.parameters) == ("FAILED", {"seconds": 60.0})
    assert "server died" in (tmp_path / "state" / "runs" / executing / "log.txt").read_text()
    again.wait(again.create(seconds=0.0), "SUCCEEDED")


def test_an_orderly_end_leaves_nothing_running(serve, tmp_path, package):
    """SIGTERM ends the server, its worker and its runs."""
    process, url = serve()
    run_id = Driver(url, package).upload().create(seconds=60.0)
    pid = step_pid(tmp_path / "state" / "runs" / run_id / "log.txt")
    family = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    assert process.wait(SECONDS) == 0
    assert all(gone(one.pid) for one in family)
    assert gone(pid)


def test_steps_have_a_temporary_folder_of_their_own_that_goes_with_the_run(server, driver):
    """Nothing stays in /tmp, however many runs there were."""
    run_id = driver.create(seconds=0.0)
    driver.wait(run_id, "SUCCEEDED")
    assert not (server.runs.folder(run_id) / "tmp").exists()
    assert str(server.runs.folder(run_id) / "tmp") in server.log_of(run_id).read_text()


class Once:
    """A fault for the next create, and for nothing else."""

    def __init__(self):
        self.fault = None

    def __call__(self, method, path):
        if method == "POST" and path.endswith("/runs"):
            fault, self.fault = self.fault, None
            return fault
        return None


@pytest.fixture(scope="module")
def faulty(tmp_path_factory, package):
    faults = Once()
    with EmbeddedKFP(tmp_path_factory.mktemp("kfp"), tick=0, instrument=inject(faults)) as server:
        yield Driver(server.url, package).upload(), faults


@pytest.mark.parametrize(
    ("fault", "runs"), [(503, 0), ("drop-before", 0), ("drop-after", 1), ("duplicate", 2)], ids=str
)
def test_injected_faults(faulty, fault, runs):
    """A refused or dropped create has made no run, a lost response has, and a duplicate makes two."""
    driver, faults = faulty
    faults.fault = fault
    name = f"fault-{fault}"
    with suppress(api.ApiException, urllib3.exceptions.HTTPError):
        driver.create(name, seconds=0.0)
    assert len(driver.named(name)) == runs


def test_a_listing_may_lag(tmp_path, package):
    """A new run can be read by id before a listing shows it."""
    with EmbeddedKFP(tmp_path, tick=0, listing_lag=3600) as server:
        driver = Driver(server.url, package).upload()
        run_id = driver.create("late", seconds=0.0)
        assert driver.named("late") == []
        assert driver.state(run_id)
