"""The nightly schedule is either a KFP recurring run that really fires, or EventBridge's schedule, never both."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import kfp
import pytest
from kfp import compiler, dsl

from cli.commands.recurring import NAME, PIPELINE, EventBridge, NoNightly, Schedules, six_fields
from local.kfp.server import EmbeddedKFP
from statemachine.contracts.errors import Malformed, OperationRefused, Unknown

# kfp prints to each client that it needs KFP 2.
pytestmark = pytest.mark.filterwarnings("ignore:This client only works with Kubeflow:FutureWarning")
NIGHTLY = "fraudloop-night"
TARGET = {
    "Arn": "arn:aws:lambda:us-east-1:123456789012:function:nightly",
    "RoleArn": "arn:aws:iam::123456789012:role/x",
}


class Clock:
    """A time that a test moves."""

    def __init__(self):
        self.now = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)

    def __call__(self):
        return self.now


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def report(word: str) -> str:
    return word


@dsl.pipeline(name=PIPELINE)
def nightly_pipeline(
    word: str = "hello",
    data_uri: str = "",
    output_uri: str = "",
    deploy_parameters: dict = {},  # noqa: B006 — KFP's way to spell a default
    model: str = "fraud",
    gate: dict = {},  # noqa: B006
    preprocess_parameters: dict = {},  # noqa: B006
    train_parameters: dict = {},  # noqa: B006
    evaluate_parameters: dict = {},  # noqa: B006
    export_parameters: dict = {},  # noqa: B006
):
    """Replaces the end-to-end pipeline, with its inputs and one step."""
    report(word=word).set_caching_options(False)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def server(tmp_path, clock):
    """The embedded KFP with a published version `v1`; nothing fires unless the test ticks."""
    with EmbeddedKFP(tmp_path / "kfp", now=clock, tick=0) as server:
        path = tmp_path / "pipeline.yaml"
        compiler.Compiler().compile(nightly_pipeline, str(path))
        client = kfp.Client(host=server.url)
        made = client.upload_pipeline(str(path), PIPELINE)
        client.upload_pipeline_version(str(path), "v1", pipeline_id=made.pipeline_id)
        yield server


@pytest.fixture
def eventbridge(system):
    """moto's EventBridge Scheduler with the stack's schedule."""
    client = boto3.client("scheduler")
    window = {"Mode": "OFF"}
    client.create_schedule(
        Name=NIGHTLY, ScheduleExpression="cron(0 2 * * ? *)", FlexibleTimeWindow=window, Target=TARGET, State="ENABLED"
    )
    return EventBridge(client, NIGHTLY)


@pytest.fixture
def both(server, eventbridge):
    return Schedules(kfp.Client(host=server.url), "fraudloop", eventbridge, service_account="fraudloop-stage")


@pytest.mark.parametrize(("given", "meant"), [("0 2 * * *", "0 0 2 * * *"), ("30 3 * * 1", "0 30 3 * * 1")])
def test_five_fields_are_refused_with_the_right_six_beside_them(both, eventbridge, given, meant):
    """KFP would read the plan's `0 2 * * *` as `second minute hour`: every hour at :02. Nothing is switched."""
    with pytest.raises(Malformed, match=re.escape(f"'{meant}'")):
        both.use_kfp("v1", {}, cron=given)
    assert eventbridge.enabled()
    assert both.all() == []


@pytest.mark.parametrize("cron", ["0 0 2 * * *", "@daily", "@every 8h"])
def test_six_fields_and_descriptors_are_taken_as_they_are(cron):
    """robfig/cron's own."""
    assert six_fields(cron) == cron


def test_a_cron_of_another_length_is_refused():
    """The message shows what six look like."""
    with pytest.raises(Malformed, match=r"has 3 fields.*0 0 2"):
        six_fields("0 2 *")


def test_kfp_has_the_schedule_and_eventbridge_is_disabled(both, eventbridge):
    """One at a time, nothing is caught up; the rest of EventBridge's schedule stays as it was."""
    made = both.use_kfp("v1", {"word": "hi"})
    assert (made.name, made.cron, made.enabled, made.no_catchup, made.max_concurrency) == (
        NAME,
        "0 0 2 * * *",
        True,
        True,
        1,
    )
    assert not eventbridge.enabled()
    kept = eventbridge.client.get_schedule(Name=NIGHTLY)
    assert (kept["ScheduleExpression"], kept["Target"]["Arn"]) == ("cron(0 2 * * ? *)", TARGET["Arn"])


def test_it_triggers(both, server, clock):
    """At two o'clock a run begins; a week away is one run, not seven."""
    both.use_kfp("v1", {"word": "hi"})
    server.recurring.tick()
    assert not kfp.Client(host=server.url).list_runs().runs
    clock.now += timedelta(hours=1)
    server.recurring.tick()
    client = kfp.Client(host=server.url)
    [first] = client.list_runs().runs
    assert first.service_account == "fraudloop-stage"
    assert first.display_name == f"{NAME}-1"
    assert client.wait_for_run_completion(first.run_id, timeout=60).state == "SUCCEEDED"
    clock.now += timedelta(days=7)
    server.recurring.tick()
    assert len(client.list_runs().runs) == 2


def test_a_change_replaces_it(both):
    """Recurring runs cannot be edited: afterwards there is one, the new one."""
    first = both.use_kfp("v1", {"word": "hi"})
    second = both.use_kfp("v1", {"word": "hi"}, cron="0 0 3 * * *")
    assert [each.id for each in both.all()] == [second.id] != [first.id]
    assert second.cron == "0 0 3 * * *"


def test_a_version_that_was_not_published_changes_nothing(both, eventbridge):
    """EventBridge's schedule still fires."""
    with pytest.raises(Unknown, match="fraudloop publish"):
        both.use_kfp("v2", {})
    assert eventbridge.enabled()
    assert both.all() == []


def test_back_to_eventbridge(both, eventbridge):
    """KFP's recurring run is deleted before EventBridge's schedule is enabled."""
    both.use_kfp("v1", {"word": "hi"})
    both.use_eventbridge()
    assert both.all() == []
    assert eventbridge.enabled()


def test_pause_and_resume(both, eventbridge):
    """A paused recurring run stays. It is not resumed while EventBridge's schedule is enabled."""
    both.use_kfp("v1", {"word": "hi"})
    both.pause()
    assert [each.enabled for each in both.all()] == [False]
    eventbridge.switch(True)
    with pytest.raises(OperationRefused, match="EventBridge keeps the schedule"):
        both.resume()
    eventbridge.switch(False)
    both.resume()
    assert [each.enabled for each in both.all()] == [True]


def test_nothing_to_resume(both):
    """The error says how to create one."""
    with pytest.raises(OperationRefused, match="fraudloop schedule kfp"):
        both.resume()


def test_a_schedule_that_is_not_there_is_no_permission_to_go_on(server, system):
    """With a wrong name two schedulers could fire, so a missing schedule is an error unless stated."""
    client = kfp.Client(host=server.url)
    with pytest.raises(Unknown, match="--nightly"):
        Schedules(client, "fraudloop", EventBridge(boto3.client("scheduler"), "other")).use_kfp("v1", {})
    assert Schedules(client, "fraudloop", NoNightly()).use_kfp("v1", {}).enabled


def test_the_commands(server, system, eventbridge, fraudloop, monkeypatch, tmp_path):
    """From the model registry's settings to both schedulers, and back."""
    definitions = tmp_path / "definitions.json"
    definitions.write_text(json.dumps({PIPELINE: "v1"}))
    monkeypatch.setenv("FRAUDLOOP_DEFINITIONS", str(definitions))
    monkeypatch.setenv("FRAUDLOOP_KFP_URL", server.url)
    made = fraudloop("schedule", "kfp", "--json")
    assert made.exit_code == 0, made.output
    output = json.loads(fraudloop("schedule", "list", "--json").stdout)
    assert output["eventbridge"] == {"name": NIGHTLY, "enabled": False}
    assert [each["id"] for each in output["kfp"]] == [json.loads(made.stdout)["id"]]
    fraudloop("schedule", "pause")
    fraudloop("schedule", "resume")
    assert fraudloop("schedule", "eventbridge").exit_code == 0
    output = json.loads(fraudloop("schedule", "list", "--json").stdout)
    assert output == {"eventbridge": {"name": NIGHTLY, "enabled": True}, "kfp": []}


def test_the_arguments_are_those_of_the_end_to_end_pipeline(system):
    """Every argument is an input of the pipeline, and every input without a default is given."""
    from cli.commands.schedule import arguments
    from training.pipelines.definitions import end_to_end_pipeline
    from training.pipelines.settings import read_settings

    inputs = end_to_end_pipeline(
        read_settings(folder=Path(__file__).parents[2])
    ).pipeline_spec.root.input_definitions.parameters
    output = arguments(system, "fraud")
    assert set(output) <= set(inputs)
    assert {name for name, one in inputs.items() if not one.is_optional and not one.HasField("default_value")} <= set(
        output
    )
    json.dumps(output)
