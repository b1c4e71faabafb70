"""Creates in the local cloud what `sam deploy` creates in an account: table, buckets, queues, bus and rules."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import boto3

from local.aws import template
from statemachine.adapters.dynamodb import SCHEMA

REGION = "us-east-1"
ACCOUNT = "123456789012"

TABLE = "fraudloop"
DATA = "fraudloop-data"
ARTIFACTS = "fraudloop-artifacts"
BUS = "fraudloop"
S3_EVENTS = "fraudloop-s3-events"  # exists only here: moto's own S3 events, before the dispatcher gives them ids
ARRIVALS = "fraudloop-arrivals"
HINTS = "fraudloop-hints"
ASYNC_DLQ = "fraudloop-async-dlq"  # scheduled events that a handler refused three times
ANNOUNCE_DLQ = "fraudloop-announce-dlq"  # stream records that a handler refused

FED_BY_QUEUE = {ARRIVALS: "ArrivalsQueue", HINTS: "HintsQueue"}  # by their name in template.yaml
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": REGION}


@dataclass(frozen=True)
class Resources:
    """The created resources: queue URLs by queue name, and the ARN of the table's stream."""

    queues: Mapping[str, str]
    stream_arn: str

    def environment(self) -> dict[str, str]:
        """The FRAUDLOOP_… variables of docs/contracts.md that name the resources."""
        return {
            "FRAUDLOOP_TABLE": TABLE,
            "FRAUDLOOP_DATA_BUCKET": DATA,
            "FRAUDLOOP_ARTIFACTS_BUCKET": ARTIFACTS,
            "FRAUDLOOP_ARRIVALS_QUEUE_URL": self.queues[ARRIVALS],
            "FRAUDLOOP_HINTS_QUEUE_URL": self.queues[HINTS],
            "FRAUDLOOP_NIGHTLY_DLQ_URL": self.queues[ASYNC_DLQ],
            "FRAUDLOOP_EVENT_BUS": BUS,
        }


def client(service: str, url: str) -> Any:
    """Return a boto3 client of the local cloud at `url`, independent of the environment."""
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id="local",
        aws_secret_access_key="local",  # noqa: S106 — moto asks for any words
    )


def create(url: str) -> Resources:
    """Create all resources in the cloud at `url`, which must be empty."""
    queues = _queues(client("sqs", url))
    _buckets(client("s3", url))
    _rules(client("events", url))
    return Resources(queues, _table(client("dynamodb", url)))


def find(url: str) -> Resources:
    """Return what `create` created in the cloud at `url`."""
    queues = client("sqs", url).list_queues()["QueueUrls"]
    table = client("dynamodb", url).describe_table(TableName=TABLE)["Table"]
    return Resources({queue.rsplit("/", 1)[-1]: queue for queue in queues}, table["LatestStreamArn"])


def _queues(sqs: Any) -> dict[str, str]:
    plain = [S3_EVENTS, ASYNC_DLQ, ANNOUNCE_DLQ, *(f"{name}-dlq" for name in FED_BY_QUEUE)]
    urls = {name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in plain}
    for name, deployed in FED_BY_QUEUE.items():
        queue = template.queue(deployed)
        redrive = {"deadLetterTargetArn": _arn("sqs", f"{name}-dlq"), "maxReceiveCount": queue.max_receives}
        attributes = {
            "VisibilityTimeout": str(queue.visibility),
            "MessageRetentionPeriod": str(queue.retention),
            "RedrivePolicy": json.dumps(redrive),
        }
        urls[name] = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    return urls


def _buckets(s3: Any) -> None:
    for bucket in (DATA, ARTIFACTS):
        s3.create_bucket(Bucket=bucket)
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_notification_configuration(
        Bucket=DATA, NotificationConfiguration={"EventBridgeConfiguration": {}}, SkipDestinationValidation=True
    )


def _rules(events: Any) -> None:
    events.create_event_bus(Name=BUS)
    arrived = {"source": ["aws.s3"], "detail-type": ["Object Created"], "detail": {"bucket": {"name": [DATA]}}}
    finished = {"source": ["fraudloop.training"], "detail-type": ["Stage Finished"]}
    _rule(events, "default", "fraudloop-object-created", arrived, S3_EVENTS)
    _rule(events, BUS, "fraudloop-stage-finished", finished, HINTS)


def _rule(events: Any, bus: str, name: str, pattern: dict[str, Any], queue: str) -> None:
    events.put_rule(Name=name, EventBusName=bus, EventPattern=json.dumps(pattern))
    events.put_targets(Rule=name, EventBusName=bus, Targets=[{"Id": queue, "Arn": _arn("sqs", queue)}])


def _table(dynamodb: Any) -> str:
    described = dynamodb.create_table(TableName=TABLE, **SCHEMA)
    return str(described["TableDescription"]["LatestStreamArn"])


def _arn(service: str, name: str) -> str:
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{name}"
