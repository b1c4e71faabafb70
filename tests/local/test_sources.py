import json

import pytest

from local.aws.invoke_api import Asynchronous
from local.aws.lambda_runtime import InvocationResult
from local.aws.object_events import sequencer
from local.aws.queue_source import QueueSource, refused
from local.aws.resources import HINTS, MAX_RECEIVES, TABLE, client
from local.aws.stream_source import ATTEMPTS, StreamSource

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
    """Lambda's rules for ReportBatchItemFailures; in doubt the whole batch comes again."""
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
    """A partial answer deletes the good messages and leaves the bad one."""
    for body in "abc":
        client("sqs", url).send_message(QueueUrl=made.queues[HINTS], MessageBody=body)

    def invoke(event):
        return failing(*[record["messageId"] for record in event["Records"] if record["body"] == "b"])

    assert queue(invoke).once() == 3
    assert bodies(url, made, HINTS) == ["b"]


def test_poison_ends_in_the_dead_letter_queue(url, made, queue):
    """A message that no invocation takes is given up after maxReceiveCount deliveries, and its neighbour is not."""
    client("sqs", url).send_message(QueueUrl=made.queues[HINTS], MessageBody="poison")
    deliveries = []

    def invoke(event):
        deliveries.extend(record["attributes"]["ApproximateReceiveCount"] for record in event["Records"])
        return InvocationResult({"errorType": "ValueError"}, failed=True)

    source = queue(invoke)
    for _ in range(MAX_RECEIVES + 2):
        source.once()
    assert deliveries == [str(n) for n in range(1, MAX_RECEIVES + 1)]
    assert bodies(url, made, HINTS) == []
    assert bodies(url, made, f"{HINTS}-dlq") == ["poison"]


def test_a_bad_stream_record_is_tried_again_then_buried(url, made):
    """Records before it are done with, those after it wait for it, then go on."""
    dynamodb = client("dynamodb", url)
    for name in "abc":
        dynamodb.put_item(TableName=TABLE, Item={"pk": {"S": name}, "sk": {"S": "x"}})
    batches, buried = [], []

    def invoke(event):
        names = [record["dynamodb"]["Keys"]["pk"]["S"] for record in event["Records"]]
        batches.append("".join(names))
        numbers = {n: r["dynamodb"]["SequenceNumber"] for n, r in zip(names, event["Records"], strict=True)}
        return failing(numbers["b"]) if "b" in numbers else TOOK_ALL

    source = StreamSource(client("dynamodbstreams", url), made.stream_arn, invoke, buried.append)
    for _ in range(ATTEMPTS + 2):
        source.once()
    assert batches == ["abc", *["bc"] * (ATTEMPTS - 1), "c"]
    assert [json.loads(body)["dynamodb"]["Keys"]["pk"]["S"] for body in buried] == ["b"]


def test_a_stream_is_read_on_when_its_beginning_was_forgotten(url, made, monkeypatch):
    """More changes than moto is allowed to keep: the newest ones are still delivered, once each."""
    monkeypatch.setattr("local.aws.retention.KEPT", 3)
    dynamodb = client("dynamodb", url)
    seen = []

    def invoke(event):
        seen.extend(record["dynamodb"]["Keys"]["pk"]["S"] for record in event["Records"])
        return TOOK_ALL

    source = StreamSource(client("dynamodbstreams", url), made.stream_arn, invoke, print)
    for name in "abcdefgh":
        dynamodb.put_item(TableName=TABLE, Item={"pk": {"S": name}, "sk": {"S": "x"}})
        source.once()
    assert "".join(seen) == "abcdefgh"


def test_an_asynchronous_event_has_two_more_tries():
    """Then it is buried with what was sent and what came of it."""
    buried, tries = [], []

    def invoke(event):
        tries.append(event)
        return InvocationResult({"errorType": "ValueError"}, failed=True)

    Asynchronous(buried.append, (0.0, 0.0))._deliver("fraudloop-nightly", invoke, {"n": 1})
    assert tries == [{"n": 1}] * 3
    assert json.loads(buried[0])["requestPayload"] == {"n": 1}


def test_sequencers_grow_as_numbers_and_as_text():
    """Also over a restart of the dispatcher: the later source starts higher."""
    first = sequencer()
    numbers = [first() for _ in range(20)]
    numbers += [sequencer()()]
    assert numbers == sorted(numbers) == sorted(numbers, key=lambda s: int(s, 16))
    assert len(set(numbers)) == len(numbers)
