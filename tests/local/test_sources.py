import json
from typing import Any

import pytest
import yaml

from local.aws import resources, template
from local.aws.dispatcher import functions
from local.aws.invoke_api import RETRY_AFTER, Asynchronous
from local.aws.lambda_runtime import InvocationResult
from local.aws.object_events import sequencer
from local.aws.queue_source import QueueSource, refused
from local.aws.resources import ARRIVALS, HINTS, TABLE, client
from local.aws.stream_source import StreamSource
from local.system import SystemOptions

TOOK_ALL = InvocationResult({"batchItemFailures": []})


def failing(*names):
    return InvocationResult({"batchItemFailures": [{"itemIdentifier": name} for name in names]})


@pytest.mark.parametrize(
    ("result", "left"),
    [
        (TOOK_ALL, ""),
        (InvocationResult(None), ""),
        (InvocationResult({}), ""),
        (InvocationResult({"batchItemFailures": None}), ""),
        (failing("b"), "b"),
        (failing("a", "b"), "ab"),
        (failing("x"), "ab"),
        (failing(None), "ab"),
        (failing(""), "ab"),
        (InvocationResult({"batchItemFailures": ["a"]}), "ab"),
        (InvocationResult("done"), "ab"),
        (InvocationResult({"errorType": "ValueError"}, failed=True), "ab"),
    ],
)
def test_what_a_handlers_answer_means_for_its_batch(result, left):
    """Lambda's rules for ReportBatchItemFailures: in doubt the whole batch is delivered again."""
    assert refused(result, ["a", "b"]) == frozenset(left)


@pytest.fixture
def queue(url, made):
    sqs = client("sqs", url)
    where = made.queues[HINTS]
    sqs.set_queue_attributes(QueueUrl=where, Attributes={"VisibilityTimeout": "0"})
    return lambda invoke: QueueSource(sqs, where, f"arn:aws:sqs:us-east-1:123456789012:{HINTS}", invoke)


def bodies(url, made, name):
    found = client("sqs", url).receive_message(QueueUrl=made.queues[name], MaxNumberOfMessages=10).get("Messages", [])
    return sorted(message["Body"] for message in found)


def test_only_what_was_refused_comes_again(url, made, queue):
    """A partial failure deletes the good messages and keeps the bad one."""
    for body in "abc":
        client("sqs", url).send_message(QueueUrl=made.queues[HINTS], MessageBody=body)

    def invoke(event):
        return failing(*[record["messageId"] for record in event["Records"] if record["body"] == "b"])

    assert queue(invoke).once() == 3
    assert bodies(url, made, HINTS) == ["b"]


def test_poison_ends_in_the_dead_letter_queue(url, made, queue):
    """A message that every invocation refuses is a dead letter after maxReceiveCount deliveries; its neighbour is
    not.
    """
    client("sqs", url).send_message(QueueUrl=made.queues[HINTS], MessageBody="poison")
    deliveries: list[Any] = []

    def invoke(event):
        deliveries.extend(record["attributes"]["ApproximateReceiveCount"] for record in event["Records"])
        return InvocationResult({"errorType": "ValueError"}, failed=True)

    source = queue(invoke)
    most = template.queue("HintsQueue").max_receives
    for _ in range(most + 2):
        source.once()
    assert deliveries == [str(n) for n in range(1, most + 1)]
    assert bodies(url, made, HINTS) == []
    assert bodies(url, made, f"{HINTS}-dlq") == ["poison"]


def test_a_bad_stream_record_is_retried_then_dead_lettered(url, made):
    """Earlier records are done. Later ones wait for it, then continue."""
    dynamodb = client("dynamodb", url)
    for name in "abc":
        dynamodb.put_item(TableName=TABLE, Item={"pk": {"S": name}, "sk": {"S": "x"}})
    batches: list[Any] = []
    dead_letters: list[Any] = []

    def invoke(event):
        names = [record["dynamodb"]["Keys"]["pk"]["S"] for record in event["Records"]]
        batches.append("".join(names))
        numbers = {n: r["dynamodb"]["SequenceNumber"] for n, r in zip(names, event["Records"], strict=True)}
        return failing(numbers["b"]) if "b" in numbers else TOOK_ALL

    config = template.source("announce")
    source = StreamSource(client("dynamodbstreams", url), made.stream_arn, invoke, dead_letters.append, config)
    for _ in range(config.retries + 3):
        source.once()
    assert batches == ["abc", *["bc"] * config.retries, "c"]
    assert [json.loads(body)["dynamodb"]["Keys"]["pk"]["S"] for body in dead_letters] == ["b"]


def test_a_stream_is_read_on_when_its_beginning_was_forgotten(url, made, monkeypatch):
    """More changes than moto keeps: the newest ones are still delivered, once each."""
    monkeypatch.setattr("local.aws.retention.KEPT", 3)
    dynamodb = client("dynamodb", url)
    seen: list[Any] = []

    def invoke(event):
        seen.extend(record["dynamodb"]["Keys"]["pk"]["S"] for record in event["Records"])
        return TOOK_ALL

    source = StreamSource(client("dynamodbstreams", url), made.stream_arn, invoke, print, template.source("announce"))
    for name in "abcdefgh":
        dynamodb.put_item(TableName=TABLE, Item={"pk": {"S": name}, "sk": {"S": "x"}})
        source.once()
    assert "".join(seen) == "abcdefgh"


def test_an_asynchronous_event_has_two_more_tries():
    """Then it is a dead letter with the event and the last response."""
    dead_letters: list[Any] = []
    tries: list[Any] = []

    def invoke(event):
        tries.append(event)
        return InvocationResult({"errorType": "ValueError"}, failed=True)

    Asynchronous(dead_letters.append, (0.0, 0.0))._deliver("fraudloop-nightly", invoke, {"n": 1})
    assert tries == [{"n": 1}] * 3
    assert json.loads(dead_letters[0])["requestPayload"] == {"n": 1}


def test_sequencers_grow_as_numbers_and_as_text():
    """Also after a restart of the dispatcher: the later source starts higher."""
    first = sequencer()
    numbers = [first() for _ in range(20)]
    numbers += [sequencer()()]
    assert numbers == sorted(numbers) == sorted(numbers, key=lambda s: int(s, 16))
    assert len(set(numbers)) == len(numbers)


def test_the_stand_ins_deliver_as_the_template_says(url, made):
    """Visibility, retention, receives, batches, retries and timeouts are read from template.yaml."""
    declared = yaml.load(template.TEMPLATE.read_text(), template._Loader)["Resources"]
    sqs = client("sqs", url)
    for name, logical in ((ARRIVALS, "ArrivalsQueue"), (HINTS, "HintsQueue")):
        found = sqs.get_queue_attributes(QueueUrl=made.queues[name], AttributeNames=["All"])["Attributes"]
        properties = declared[logical]["Properties"]
        assert int(found["VisibilityTimeout"]) == properties["VisibilityTimeout"]
        assert int(found["MessageRetentionPeriod"]) == properties["MessageRetentionPeriod"]
        assert json.loads(found["RedrivePolicy"])["maxReceiveCount"] == properties["RedrivePolicy"]["maxReceiveCount"]
    events = {name: declared[f"{logical}Function"]["Properties"]["Events"] for name, logical in template.NAMES.items()}
    assert template.source("arrival").batch == events["arrival"]["Arrivals"]["Properties"]["BatchSize"]
    assert template.source("step").batch == events["step"]["Hints"]["Properties"]["BatchSize"] == 1
    outbox = events["announce"]["Outbox"]["Properties"]
    assert template.source("announce") == template.EventSource(outbox["BatchSize"], outbox["MaximumRetryAttempts"])
    timeouts = {each.name.removeprefix("fraudloop-"): each.timeout for each in functions()}
    assert timeouts == {
        n: declared[f"{logical}Function"]["Properties"]["Timeout"] for n, logical in template.NAMES.items()
    }
    assert template.every("tick") == SystemOptions().tick_seconds, (
        "`fraudloop up` ticks as a deployment does, unless told"
    )
    assert template.function("nightly").retries == len(RETRY_AFTER)
    assert template.function("tick").retries == 0


def test_a_changed_template_changes_the_stand_ins(url, monkeypatch, tmp_path):
    """No value is copied."""
    changed = template.TEMPLATE.read_text()
    for old, new in (("VisibilityTimeout: 365", "VisibilityTimeout: 999"), ("BatchSize: 90", "BatchSize: 7")):
        assert old in changed
        changed = changed.replace(old, new)
    (tmp_path / "template.yaml").write_text(changed)
    monkeypatch.setattr(template, "TEMPLATE", tmp_path / "template.yaml")
    template._resources.cache_clear()
    try:
        assert template.source("arrival").batch == 7
        made = resources.create(url)
    finally:
        template._resources.cache_clear()
    sqs = client("sqs", url)
    found = sqs.get_queue_attributes(QueueUrl=made.queues[ARRIVALS], AttributeNames=["VisibilityTimeout"])["Attributes"]
    assert found["VisibilityTimeout"] == "999"


def test_a_batch_is_filled_beyond_what_one_request_may_hold(url, made):
    """Ten messages a request is SQS's limit, not Lambda's: an event holds up to BatchSize."""
    sqs, where = client("sqs", url), made.queues[ARRIVALS]
    for n in range(25):
        sqs.send_message(QueueUrl=where, MessageBody=str(n))
    sizes = []

    def invoke(event):
        sizes.append(len(event["Records"]))
        return TOOK_ALL

    source = QueueSource(sqs, where, f"arn:aws:sqs:us-east-1:123456789012:{ARRIVALS}", invoke, 22)
    assert source.once() == 22
    assert source.once() == 3
    assert sizes == [22, 3]
    assert source.once() == 0, "all of them were deleted"
