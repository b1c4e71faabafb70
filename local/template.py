"""What template.yaml says of queues, event sources and functions, so that the stand-ins deliver as a deployment does.

Read from the checkout when it is first asked for: an image without template.yaml imports the local system, too.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

TEMPLATE = Path(__file__).resolve().parents[1] / "template.yaml"
NAMES = {"arrival": "Arrival", "nightly": "Nightly", "tick": "Tick", "step": "Step", "announce": "Announce"}


@dataclass(frozen=True)
class Queue:
    """An SQS queue: times in seconds, and how often a message is given out before it is a dead letter."""

    visibility: int
    retention: int
    max_receives: int


@dataclass(frozen=True)
class Source:
    """What feeds a function: so many messages or records at once; `retries` of a stream, after the first try."""

    batch: int
    retries: int = 0


@dataclass(frozen=True)
class Lambda:
    """A function: its timeout in seconds, and how often an asynchronous invocation of it is tried again."""

    timeout: float
    retries: int = 2  # Lambda's own, where the template says nothing


def queue(name: str) -> Queue:
    """By its logical id, `ArrivalsQueue` for instance."""
    properties = _resource(name)
    visibility = int(properties["VisibilityTimeout"])
    receives = int(properties["RedrivePolicy"]["maxReceiveCount"])
    return Queue(visibility, int(properties["MessageRetentionPeriod"]), receives)


def source(function: str) -> Source:
    """The queue or stream of one function."""
    for event in _events(function):
        if event["Type"] in ("SQS", "DynamoDB"):
            properties = event["Properties"]
            return Source(int(properties["BatchSize"]), int(properties.get("MaximumRetryAttempts", 0)))
    raise KeyError(f"template.yaml: {NAMES[function]}Function has neither a queue nor a stream")


def function(name: str) -> Lambda:
    """One of the five."""
    properties = _resource(f"{NAMES[name]}Function")
    retries = properties.get("EventInvokeConfig", {}).get("MaximumRetryAttempts", Lambda.retries)
    return Lambda(float(properties["Timeout"]), int(retries))


def every(function: str) -> float:
    """Seconds between two firings of a function's `rate(…)` schedule."""
    for event in _events(function):
        found = re.fullmatch(r"rate\((\d+) minutes?\)", str(event["Properties"].get("ScheduleExpression", "")))
        if found:
            return 60.0 * int(found[1])
    raise KeyError(f"template.yaml: {NAMES[function]}Function has no schedule in minutes")


def _events(function: str) -> list[dict[str, Any]]:
    return list(_resource(f"{NAMES[function]}Function")["Events"].values())


def _resource(name: str) -> dict[str, Any]:
    return dict(_resources()[name]["Properties"])


@cache
def _resources() -> dict[str, Any]:
    return dict(yaml.load(TEMPLATE.read_text(), _Loader)["Resources"])  # noqa: S506 — the loader is a SafeLoader that knows CloudFormation's tags


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms, whose values are not needed here."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: f"!{suffix}")
