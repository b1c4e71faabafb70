"""A stand-in for EventBridge Scheduler: the event of a schedule, and a schedule that repeats."""

import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from local.aws.resources import ACCOUNT, REGION


def scheduled_event(schedule: str, at: datetime) -> dict[str, Any]:
    """Return Scheduler's event for a Lambda target. `at` is the planned time. A repeated event has another id."""
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.scheduler",
        "account": ACCOUNT,
        "time": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": REGION,
        "resources": [f"arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule/default/{schedule}"],
        "detail": "{}",
    }


def every(seconds: float, fire: Callable[[dict[str, Any]], object], schedule: str, stop: threading.Event) -> None:
    """Fire at once and then every `seconds` until `stop` is set. A slow `fire` delays the next one."""
    planned = time.monotonic()
    while not stop.wait(max(0.0, planned - time.monotonic())):
        fire(scheduled_event(schedule, datetime.now(UTC)))
        planned = max(planned + seconds, time.monotonic())
