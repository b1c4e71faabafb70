"""The real handlers on a loopback AWS, with recorded events and a Lambda context of the real shape."""

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from simulation.memory.kfp import MemoryPipelines
from statemachine.adapters.dynamodb import SCHEMA

EVENTS = Path(__file__).parent / "events"


@dataclass
class Context:
    """What awslambdaric hands to a handler."""

    function_name: str = "fraudloop-test"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:eu-central-1:123456789012:function:fraudloop-test"
    aws_request_id: str = "52fdfc07-2182-154f-163f-5f0f9a621d72"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


@pytest.fixture
def invoke(own_cloud, monkeypatch, request):
    """`invoke("tick", "tick")`: the handler on the recorded event (or on a dict), in a system of its own."""
    name = f"h{abs(hash(request.node.nodeid)) % 10**12}"
    environment = {
        "AWS_ENDPOINT_URL": own_cloud,
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "FRAUDLOOP_TABLE": name,
        "FRAUDLOOP_DATA_BUCKET": "fraudloop-data",
        "FRAUDLOOP_ARTIFACTS_BUCKET": "fraudloop-artifacts",
        "FRAUDLOOP_KFP_URL": "http://127.0.0.1:9",
        "POWERTOOLS_METRICS_NAMESPACE": "Fraudloop",
    }
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    boto3.client("dynamodb").create_table(TableName=name, **SCHEMA)
    s3 = boto3.client("s3")
    for bucket in ("fraudloop-data", "fraudloop-artifacts"):
        if bucket not in [b["Name"] for b in s3.list_buckets()["Buckets"]]:
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    queue = boto3.client("sqs").create_queue(QueueName=name)["QueueUrl"]
    monkeypatch.setenv("FRAUDLOOP_HINTS_QUEUE_URL", queue)
    edge = importlib.import_module("handlers.runtime")
    edge.app.cache_clear()

    def call(handler, event):
        given = json.loads((EVENTS / f"{event}.json").read_text()) if isinstance(event, str) else event
        return importlib.import_module(f"handlers.{handler}").handler(given, Context())

    invoked: Any = call
    invoked.app, invoked.queue = edge.app, queue
    yield invoked
    edge.app.cache_clear()


@pytest.fixture
def recorded():
    """`recorded("stream")`: the records of a recorded event."""
    return lambda event: json.loads((EVENTS / f"{event}.json").read_text())["Records"]


@pytest.fixture
def one_message():
    """An SQS record around the recorded event, with parts of its object changed."""

    def make(event, change):
        envelope = json.loads((EVENTS / f"{event}.json").read_text())
        envelope["detail"]["object"].update(change)
        return {"messageId": "m1", "body": json.dumps(envelope)}

    return make


@pytest.fixture
def kfp(invoke):
    """A KFP in memory behind the reconciler; its failures over the wire are tested with its adapter."""
    import time

    pipelines = MemoryPipelines(time.time)
    invoke.app().__dict__["pipelines"] = pipelines
    return pipelines


@pytest.fixture
def hints(invoke):
    """The hints sent so far."""

    def read():
        sqs, found = boto3.client("sqs"), []
        while answer := sqs.receive_message(QueueUrl=invoke.queue, MaxNumberOfMessages=10).get("Messages"):
            for message in answer:
                sqs.delete_message(QueueUrl=invoke.queue, ReceiptHandle=message["ReceiptHandle"])
                found.append(json.loads(message["Body"])["run_id"])
        return found

    return read
