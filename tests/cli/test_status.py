"""`status` and `runs`: what serves, runs, waits and is wrong, at the widths that people have."""

import time
from dataclasses import replace

import pytest
from judged_runs import dataset, evaluation, judged
from played_runs import HAPPY, played, read

from cli.commands.status import next_daily
from local.aws import resources
from local.state_dir import Endpoints, StateDir
from statemachine.core.run import Trigger
from statemachine.core.window import Object

NOON = 1_790_078_400.0  # 2026-09-22T12:00:00Z


@pytest.fixture
def busy(system):
    """`fraud-1` serves, `fraud-2` waits for approval, three objects joined since, one is quarantined; a dead letter."""
    judged(system, 1, evaluation(0.96, 0.40), dataset("aa", 100_000), "c0ffee")
    played(system, path=[*HAPPY[:4], ("AWAITING_APPROVAL", 112, "passed_for_approval", "")], run_id="fraud-2")
    things = [Object("fraudloop-data", f"data/fraud/day-{n}.csv", etag=f"{n}" * 8, size=n) for n in range(4)]
    system.intake.arrive(things)
    sqs = system.client("sqs")
    dead = sqs.get_queue_url(QueueName=f"{resources.HINTS}-dlq")["QueueUrl"]
    sqs.send_message(QueueUrl=dead, MessageBody="not a hint")
    return system


def unbroken(text, width):
    """No line is longer than the terminal, and the words are the same as without a limit."""
    assert max(map(len, text.splitlines())) <= width
    return " ".join(text.split())


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.usefixtures("busy")
def test_status_says_all_in_one_screen(fraudloop, monkeypatch, width):
    """What serves since when and how it was verified, the open window, the run, who is waited for, what is wrong."""
    monkeypatch.setenv("COLUMNS", str(width))
    from cli.output import console

    monkeypatch.setattr(console, "_width", width)
    told = unbroken(fraudloop("status").stdout, width)
    assert "fraud-1-00000001 since" in told
    assert "verified on every pod by golden requests (generation 1, made by fraud-1)" in told
    assert "fraud-2 is AWAITING_APPROVAL since" in told
    assert "`fraudloop approve fraud-2` or `fraudloop reject fraud-2`" in told
    assert "3 objects since" in told
    assert "data/fraud/day-1.csv" in told
    assert "quarantine 1 object;" in told
    assert "1 in hints; `fraudloop dlq list` says why" in told


def test_status_as_data(busy, fraudloop):
    """The same for programs; a hold says who and why."""
    busy.operations.hold("fraud", "ann", "the labels are late")
    told = read(fraudloop("status", "--json"))
    (model,) = told["models"]
    assert model["serves"]["version"] == "fraud-1-00000001"
    assert model["hold"]["why"] == "the labels are late"
    assert [run["state"] for run in model["runs"]] == ["AWAITING_APPROVAL"]
    assert (model["window"]["count"], model["quarantined"]) == (3, 1)
    assert told["dead_letters"]["hints"] == 1
    assert "the labels are late (ann)" in fraudloop("status").stdout


def test_labels_in_the_open_window_are_told_apart(system, fraudloop):
    """How many of the objects that wait are reports."""
    intake, at = system.intake, time.time()
    for key in ("data/fraud/a.csv", "labels/fraud/b.csv"):
        intake.arrive([Object("fraudloop-data", key, "e", size=5, sequencer="1", arrived_at=at)])
    (model,) = read(fraudloop("status", "--json"))["models"]
    assert (model["window"]["count"], model["window"]["labels"]) == (2, 1)
    assert "2 objects (1 of labels) since" in " ".join(fraudloop("status").stdout.split())


def test_of_an_empty_system_status_says_that_nothing_is_there(system, fraudloop):
    """No table of nothing, no error."""
    told = fraudloop("status").stdout
    assert "nothing yet" in told
    assert "is open and empty" in told
    assert "none in arrivals, hints" in told


def test_a_schedule_that_cannot_be_asked_hides_nothing_else(system, fraudloop):
    """moto has no schedule of that name: the line says so, and the others are there."""
    told = fraudloop("status").stdout
    assert "next night not known: there is no EventBridge schedule" in " ".join(told.split())
    assert "alarms none rings" in " ".join(told.split())


def test_an_alarm_that_rings_is_named(system, fraudloop):
    """With CloudWatch's reason. The stack's name is how its alarms begin."""
    cloudwatch = system.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName="fraudloop-HintsDeadAlarm", MetricName="m", Namespace="n", Period=60, EvaluationPeriods=1,
        Threshold=0, ComparisonOperator="GreaterThanThreshold", Statistic="Maximum",
    )  # fmt: skip
    cloudwatch.set_alarm_state(AlarmName="fraudloop-HintsDeadAlarm", StateValue="ALARM", StateReason="1 is above 0")
    assert "fraudloop-HintsDeadAlarm: 1 is above 0" in fraudloop("status").stdout


def test_of_a_local_system_its_parts_are_told_and_what_it_lacks_is_not_asked(system, fraudloop, monkeypatch, tmp_path):
    """Since when each part runs and how often it was started again; no alarms and no nightly schedule there."""
    import os

    home = StateDir(tmp_path / "home")
    home.take()
    ours = {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "FRAUDLOOP_"))}
    home.publish(Endpoints({"aws": os.environ["AWS_ENDPOINT_URL"]}, ours))
    home.record_status({"kfp": {"deaths": 2, "since": NOON, "last_death": {"at": NOON, "how": "killed by SIGKILL"}}})
    monkeypatch.delenv("FRAUDLOOP_TABLE")
    monkeypatch.setenv("FRAUDLOOP_HOME", str(home.path))
    told = " ".join(fraudloop("status").stdout.split())
    home.leave()
    assert "kfp runs since 2026-09-22 12:00:00, restarts: 2" in told
    assert "(killed by SIGKILL)" in told
    assert "alarms not asked here" in told
    assert "next night not asked here: the local system has none; `fraudloop night` plays one" in told


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("cron(0 2 * * ? *)", "2026-09-23T02:00:00Z"),
        ("cron(30 13 * * ? *)", "2026-09-22T13:30:00Z"),
        ("rate(1 day)", "rate(1 day)"),
        ("cron(0/5 2 * * ? *)", "cron(0/5 2 * * ? *)"),
    ],
)
def test_the_next_night_is_a_time_where_the_expression_is_daily(expression, expected):
    """Any other expression is shown as it is."""
    assert next_daily(expression, NOON) == expected


def test_runs_shows_the_open_window_and_the_nights_that_began_none(busy, fraudloop):
    """A skipped night is a row with its reason."""
    run = busy.store.run("fraud-2")
    model = busy.store.model("fraud")
    busy.store.change_model("fraud", lambda item: replace(item, training=""))
    assert model.training == run.id
    window = busy.intake.window("fraud")
    busy.intake._skip(window, Trigger("nightly", "2026-11-26T02:00:00Z"), time.time())
    told = " ".join(fraudloop("runs").stdout.split())
    assert "no run" in told
    assert "nightly: nothing new in data, code and parameters" in told
    assert "open window:" in told
    assert "data/fraud/day-1.csv" in told


def test_version(fraudloop):
    """Of the installed package."""
    from importlib.metadata import version

    assert fraudloop("--version").stdout.split() == ["fraudloop", version("fraudloop")]
