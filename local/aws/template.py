"""Reads queues, event sources and functions from template.yaml, so that the stand-ins deliver as a deployment does.

The file is read at the first call: images without template.yaml import the local system, too.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

TEMPLATE = Path(__file__).resolve().parents[2] / "template.yaml"
NAMES = {"arrival": "Arrival", "nightly": "Nightly", "tick": "Tick", "step": "Step", "announce": "Announce"}


@dataclass(frozen=True)
class Queue:
    """An SQS queue: times in seconds, and the receives after which a message is a dead letter."""

    visibility: int
    retention: int
    max_receives: int


@dataclass(frozen=True)
class EventSource:
    """A function's event source: its batch size, and for a stream its `retries` after the first try."""

    batch: int
    retries: int = 0


@dataclass(frozen=True)
class FunctionConfig:
    """A function: its timeout in seconds, and the retries of an asynchronous invocation."""

    timeout: float
    retries: int = 2  # Lambda's default


def queue(name: str) -> Queue:
    """Return a queue by its logical id, such as `ArrivalsQueue`."""
    properties = _resource(name)
    visibility = int(properties["VisibilityTimeout"])
    receives = int(properties["RedrivePolicy"]["maxReceiveCount"])
    return Queue(visibility, int(properties["MessageRetentionPeriod"]), receives)


def source(function: str) -> EventSource:
    """Return the queue or stream that invokes a function."""
    for event in _events(function):
        if event["Type"] in ("SQS", "DynamoDB"):
            properties = event["Properties"]
            return EventSource(int(properties["BatchSize"]), int(properties.get("MaximumRetryAttempts", 0)))
    raise KeyError(f"template.yaml: {NAMES[function]}Function has neither a queue nor a stream")


def function(name: str) -> FunctionConfig:
    """Return one of the five functions."""
    properties = _resource(f"{NAMES[name]}Function")
    retries = properties.get("EventInvokeConfig", {}).get("MaximumRetryAttempts", FunctionConfig.retries)
    return FunctionConfig(float(properties["Timeout"]), int(retries))


def every(function: str) -> float:
    """Return the seconds between two invocations by a function's `rate(…)` schedule."""
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
    """Loads YAML with CloudFormation's short forms as text; their values are not needed here."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: f"!{suffix}")
