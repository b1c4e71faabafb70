"""Recurring runs: the trigger really starts runs, and its rules are KFP's."""

import time
import warnings
from datetime import UTC, datetime, timedelta

import kfp
import kfp_server_api
import pytest
from kfp import compiler, dsl

from local.kfp import EmbeddedKFP
from local.kfp.errors import ApiError
from local.kfp.recurring import slots

pytestmark = pytest.mark.xdist_group("kfp-recurring")

NOON = datetime(2026, 11, 24, 12, 0, 30, tzinfo=UTC)


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def sleep(seconds: float):
    import time

    time.sleep(seconds)


@dsl.pipeline(name="night")
def nightly(seconds: float = 0.0):
    sleep(seconds=seconds).set_caching_options(False)


class Clock:
    """Time that moves when told."""

    def __init__(self):
        self.moment = NOON

    def __call__(self):
        return self.moment

    def move(self, **by):
        self.moment += timedelta(**by)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    path = tmp_path_factory.mktemp("package") / "night.yaml"
    compiler.Compiler().compile(nightly, str(path))
    return str(path)


def connect(server):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kfp.Client(host=server.url)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def server(tmp_path, clock):
    with EmbeddedKFP(tmp_path, now=clock, tick=0, grace=0.1) as running:
        yield running


@pytest.fixture
def create(server, package):
    client = connect(server)
    experiment = client.create_experiment("nights").experiment_id

    def go(**settings):
        given = {"cron_expression": "0 0 * * * *", "no_catchup": True, "params": {"seconds": 60.0}, **settings}
        return client, client.create_recurring_run(experiment, "nightly", pipeline_package_path=package, **given)

    return go


def names(server):
    return [run["display_name"] for run in server.runs.all()]


def test_a_cron_trigger_starts_runs_when_it_is_time(server, create, clock):
    """Nothing before the slot, one run at it, and not the same slot twice."""
    _, recurring = create(max_concurrency=10)
    server.recurring.tick()
    assert names(server) == []
    clock.move(hours=1)
    server.recurring.tick()
    server.recurring.tick()
    assert names(server) == ["nightly-1"]
    (run,) = server.runs.all()
    assert run["recurring_run_id"] == recurring.recurring_run_id
    assert run["scheduled_at"] == "2026-11-24T13:00:00Z"
    assert run["runtime_config"]["parameters"] == {"seconds": 60.0}


@pytest.mark.parametrize(("no_catchup", "started"), [(True, 1), (False, 3)])
def test_missed_slots_are_caught_up_unless_told_otherwise(server, create, clock, no_catchup, started):
    """`no_catchup` starts the latest missed slot only."""
    create(no_catchup=no_catchup, max_concurrency=10)
    clock.move(hours=3)
    server.recurring.tick()
    assert len(names(server)) == started


def test_no_more_runs_at_once_than_max_concurrency(server, create, clock):
    """While the last one runs, the next waits; when it has ended, it comes."""
    create(max_concurrency=1)
    for _ in range(2):
        clock.move(hours=1)
        server.recurring.tick()
    assert names(server) == ["nightly-1"]
    (run,) = server.runs.all()
    server.runs.terminate(run["run_id"])
    until = time.monotonic() + 30
    while server.runs.get(run["run_id"])["state"] != "FAILED" and time.monotonic() < until:
        time.sleep(0.02)
    server.recurring.tick()
    assert names(server) == ["nightly-1", "nightly-2"]


def test_disable_enable_delete(server, create, clock):
    """A disabled one does not start anything, a deleted one is gone and its runs stay."""
    client, recurring = create(enabled=False, max_concurrency=10)
    key = recurring.recurring_run_id
    clock.move(hours=1)
    server.recurring.tick()
    assert names(server) == []
    client.enable_recurring_run(key)
    assert client.get_recurring_run(key).status == "ENABLED"
    server.recurring.tick()
    assert names(server) == ["nightly-1"]
    client.disable_recurring_run(key)
    assert client.get_recurring_run(key).mode == "DISABLE"
    assert [one.display_name for one in client.list_recurring_runs().recurring_runs] == ["nightly"]
    client.delete_recurring_run(key)
    with pytest.raises(kfp_server_api.ApiException, match="404"):
        client.get_recurring_run(key)
    assert names(server) == ["nightly-1"]


def test_the_servers_own_clock_triggers_too(tmp_path, package):
    """Without any test's help: every second a run, which is executed."""
    with EmbeddedKFP(tmp_path, tick=0.1) as server:
        client = connect(server)
        experiment = client.create_experiment("seconds").experiment_id
        client.create_recurring_run(
            experiment, "often", cron_expression="* * * * * *", pipeline_package_path=package, no_catchup=True
        )
        until = time.monotonic() + 60
        while time.monotonic() < until:
            if any(run["state"] == "SUCCEEDED" for run in server.runs.all()):
                return
            time.sleep(0.05)
        raise AssertionError(f"no run has succeeded: {server.runs.all()}")


def test_slots_survive_a_restart(tmp_path, package, clock):
    """A slot that was started before the server died is not started again."""
    with EmbeddedKFP(tmp_path, now=clock, tick=0, grace=0.1) as server:
        client = connect(server)
        experiment = client.create_experiment("nights").experiment_id
        client.create_recurring_run(
            experiment, "nightly", cron_expression="0 0 * * * *", pipeline_package_path=package, max_concurrency=5
        )
        clock.move(hours=1)
        server.recurring.tick()
    with EmbeddedKFP(tmp_path, now=clock, tick=0, grace=0.1) as server:
        server.recurring.tick()
        assert names(server) == ["nightly-1"]


@pytest.mark.parametrize(
    ("trigger", "first"),
    [
        ({"cron_schedule": {"cron": "0 0 9 ? * 1-5"}}, datetime(2026, 11, 25, 9, tzinfo=UTC)),
        ({"cron_schedule": {"cron": "0 2 * * *"}}, datetime(2026, 11, 24, 12, 2, tzinfo=UTC)),
        ({"cron_schedule": {"cron": "@daily"}}, datetime(2026, 11, 25, tzinfo=UTC)),
        (  # cron_schedule.go: the next one after the start time, which is none itself
            {"cron_schedule": {"cron": "0 0 * * * *", "start_time": "2026-12-01T00:00:00Z"}},
            datetime(2026, 12, 1, 1, tzinfo=UTC),
        ),
        ({}, None),
        ({"cron_schedule": {"cron": "0 0 * * * *", "end_time": "2026-11-24T12:30:00Z"}}, None),
        ({"periodic_schedule": {"interval_second": "90"}}, NOON + timedelta(seconds=90)),
    ],
)
def test_slots_of_a_trigger(trigger, first):
    """Six fields with seconds first, also if there are five; `?`; start and end; periods."""
    assert next(slots(trigger, NOON), None) == first


@pytest.mark.parametrize(
    "trigger",
    [
        {"cron_schedule": {"cron": "now and then"}},
        {"cron_schedule": {"cron": "0 0 2 * * 7"}},
        {"cron_schedule": {}},
        {"periodic_schedule": {"interval_second": 0}},
    ],
)
def test_a_trigger_that_cannot_be_read_is_refused(trigger):
    """A typo must not make a recurring run that never runs."""
    with pytest.raises(ApiError) as refused:
        next(slots(trigger, NOON), None)
    assert refused.value.status == 400


def test_a_recurring_run_without_a_mode_is_disabled(server, package):
    """api_converter.go, toModelJobEnabled: MODE_UNSPECIFIED is not enabled."""
    api = kfp_server_api.RecurringRunServiceApi(kfp_server_api.ApiClient(kfp_server_api.Configuration(host=server.url)))
    pipeline = connect(server).upload_pipeline(package, pipeline_name="night").pipeline_id
    version = server.registry.versions(pipeline)[0]["pipeline_version_id"]
    body = kfp_server_api.V2beta1RecurringRun(
        display_name="nightly",
        max_concurrency="1",
        trigger=kfp_server_api.V2beta1Trigger(cron_schedule=kfp_server_api.V2beta1CronSchedule(cron="0 0 2 * * *")),
        pipeline_version_reference=kfp_server_api.V2beta1PipelineVersionReference(pipeline, version),
    )
    made = api.recurring_run_service_create_recurring_run(body)
    assert (made.mode, made.status) == ("DISABLE", "DISABLED")
    body.max_concurrency = None
    with pytest.raises(kfp_server_api.ApiException, match="Max concurrency") as refused:
        api.recurring_run_service_create_recurring_run(body)
    assert refused.value.status == 400


def test_a_five_field_cron_fires_every_hour(server, create, clock):
    """The plan's `0 2 * * *`, as KFP reads it: two minutes past every hour, not at two o'clock."""
    create(cron_expression="0 2 * * *", no_catchup=False, max_concurrency=10)
    clock.move(hours=3)
    server.recurring.tick()
    assert [run["scheduled_at"][11:16] for run in server.runs.all()] == ["12:02", "13:02", "14:02"]


def test_an_archived_experiments_recurring_runs_are_disabled(server, create, clock):
    """resource_manager.go, ArchiveExperiment; unarchived, they stay disabled (experiment_store.go)."""
    client, recurring = create()
    client.archive_experiment(recurring.experiment_id)
    client.unarchive_experiment(recurring.experiment_id)
    assert client.get_recurring_run(recurring.recurring_run_id).status == "DISABLED"
    clock.move(hours=1)
    server.recurring.tick()
    assert names(server) == []


def test_without_a_trigger_it_runs_once(server, package):
    """scheduled_workflow.go, getNextScheduledEpochForOneTimeRun."""
    pipeline = connect(server).upload_pipeline(package, pipeline_name="once").pipeline_id
    body = {"display_name": "once", "max_concurrency": "2", "mode": "ENABLE"}
    server.recurring.create(body | {"pipeline_version_reference": {"pipeline_id": pipeline}})
    for _ in range(3):
        server.recurring.tick()
    assert names(server) == ["once-1"]


@pytest.mark.parametrize(("no_catchup", "hours"), [(False, [10, 11, 12]), (True, [12])])
def test_a_start_time_in_the_past_is_caught_up_from(server, create, no_catchup, hours):
    """cron_schedule.go, getEffectiveLastJobTime: the start time, not the creation, if nothing was triggered yet."""
    create(start_time="2026-11-24T09:30:00Z", no_catchup=no_catchup, max_concurrency=10)
    server.recurring.tick()
    assert [int(run["scheduled_at"][11:13]) for run in server.runs.all()] == hours
