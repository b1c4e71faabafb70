import json
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from local.aws.dispatcher import Dispatcher
from local.aws.resources import ARTIFACTS, BUS, DATA, HINTS, TABLE, client
from training.ports import free_port

LAMBDAS = Path(__file__).parent / "lambdas"


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """Read what the recording handlers got; wait for `count` events of one."""
    monkeypatch.setenv("RECORDED", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(LAMBDAS))

    def read(name, count=1, seconds=10.0):
        lines = tmp_path / f"{name}.jsonl"
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
            if sum(len(event.get("Records", [1])) for event in found) >= count:
                return found
            time.sleep(0.05)
        raise AssertionError(f"{name} saw {found}, not {count} events")

    return read


@pytest.fixture
def dispatcher(url, made, recorded, tmp_path):
    port = free_port()
    running: Any = Dispatcher(url, port, tmp_path, tick_seconds=0.5, package="recording")
    running.url = f"http://127.0.0.1:{port}"
    yield running
    running.close()


def records(events):
    return [record for event in events for record in event["Records"]]


@pytest.mark.usefixtures("dispatcher")
def test_an_object_becomes_an_object_created_event_of_its_own(url, recorded):
    """Keys are not encoded, ids are unique, sequencers increase; the artifacts bucket sends no events."""
    s3 = client("s3", url)
    s3.put_object(Bucket=ARTIFACTS, Key="runs/x", Body=b"x")
    keys = ["data/fraud/a b+c.csv", "data/fraud/ü.csv", "data/fraud/a b+c.csv"]
    versions = [s3.put_object(Bucket=DATA, Key=key, Body=str(n).encode())["VersionId"] for n, key in enumerate(keys)]
    seen = records(recorded("arrival", 3))
    events = [json.loads(record["body"]) for record in seen]
    assert [event["detail"]["object"]["key"] for event in events] == keys
    assert [event["detail"]["object"]["version-id"] for event in events] == versions
    assert all(len(event["detail"]["object"]["etag"]) == 32 for event in events)
    assert {(event["source"], event["detail-type"]) for event in events} == {("aws.s3", "Object Created")}
    assert len({event["id"] for event in events}) == 3
    sequencers = [event["detail"]["object"]["sequencer"] for event in events]
    assert sequencers == sorted(set(sequencers), key=lambda s: int(s, 16))
    assert {record["eventSource"] for record in seen} == {"aws:sqs"}


@pytest.mark.usefixtures("dispatcher")
def test_hints_reach_step_one_at_a_time(url, made, recorded):
    """A message of ours and a stage's own event both arrive, each in an invocation of its own."""
    client("sqs", url).send_message(QueueUrl=made.queues[HINTS], MessageBody='{"run_id": "fraud-1"}')
    entry = {
        "Source": "fraudloop.training",
        "DetailType": "Stage Finished",
        "Detail": '{"run_id": "fraud-1"}',
        "EventBusName": BUS,
    }
    assert client("events", url).put_events(Entries=[entry])["FailedEntryCount"] == 0
    invocations = recorded("step", 2)
    assert [len(invocation["Records"]) for invocation in invocations] == [1, 1]
    bodies = [json.loads(record["body"]) for record in records(invocations)]
    assert sorted(body.get("detail", body)["run_id"] for body in bodies) == ["fraud-1", "fraud-1"]


@pytest.mark.usefixtures("dispatcher")
def test_the_tables_changes_reach_announce_in_order(url, recorded):
    """Old and new image as on AWS, in order, also after a transaction that was rolled back."""
    dynamodb = client("dynamodb", url)
    key = {"pk": {"S": "run#1"}, "sk": {"S": "run"}}
    dynamodb.put_item(TableName=TABLE, Item=key | {"v": {"N": "1"}})
    recorded("announce", 1)
    put = {"Put": {"TableName": TABLE, "Item": key | {"v": {"N": "2"}}}}
    check = {
        "ConditionCheck": {
            "TableName": TABLE,
            "Key": {"pk": {"S": "none"}, "sk": {"S": "none"}},
            "ConditionExpression": "attribute_exists(pk)",
        }
    }
    with pytest.raises(dynamodb.exceptions.TransactionCanceledException):
        dynamodb.transact_write_items(TransactItems=[put, check])
    dynamodb.transact_write_items(TransactItems=[put])
    dynamodb.delete_item(TableName=TABLE, Key=key)
    seen = records(recorded("announce", 3))
    changes = [
        (r["eventName"], r["dynamodb"].get("OldImage", {}).get("v"), r["dynamodb"].get("NewImage", {}).get("v"))
        for r in seen
    ]
    one, two = {"N": "1"}, {"N": "2"}
    assert changes == [("INSERT", None, one), ("MODIFY", one, two), ("REMOVE", two, None)]
    assert all(isinstance(r["dynamodb"]["ApproximateCreationDateTime"], float) for r in seen)


@pytest.mark.usefixtures("dispatcher")
def test_the_tick_comes_by_itself(recorded):
    """Repeatedly, as an event of EventBridge Scheduler."""
    ticks = recorded("tick", 3)
    assert {tick["source"] for tick in ticks} == {"aws.scheduler"}
    assert len({tick["id"] for tick in ticks}) == len(ticks)


def test_boto3_invokes_a_function_as_on_aws(dispatcher, recorded):
    """Synchronously with its answer, as an event with 202, and an unknown name is ResourceNotFound."""
    functions = client("lambda", dispatcher.url)
    answer = functions.invoke(FunctionName="fraudloop-nightly", Payload=b'{"n": 1}')
    assert answer["StatusCode"] == 200
    assert "FunctionError" not in answer
    assert json.load(answer["Payload"]) is None
    assert (
        functions.invoke(FunctionName="fraudloop-nightly", InvocationType="Event", Payload=b'{"n": 2}')["StatusCode"]
        == 202
    )
    assert recorded("nightly", 2) == [{"n": 1}, {"n": 2}]
    with pytest.raises(functions.exceptions.ResourceNotFoundException):
        functions.invoke(FunctionName="fraudloop-nihgtly", Payload=b"{}")


def test_every_never_doubles_a_slow_tick():
    """A tick that takes longer than the interval delays the next one. Missed ticks are not made up."""
    from local.aws.schedule import every

    stop, fired = threading.Event(), []

    def slow(event):
        fired.append(time.monotonic())
        time.sleep(0.25)
        if len(fired) == 4:
            stop.set()

    every(0.1, slow, "tick", stop)
    assert all(later - earlier >= 0.25 for earlier, later in pairwise(fired))
