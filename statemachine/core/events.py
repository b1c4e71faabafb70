"""Parses what arrives from outside: object events, hints, the nightly slot."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from statemachine.contracts.errors import Malformed
from statemachine.contracts.limits import clipped
from statemachine.core.window import Object

LONGEST_RUN = 200  # characters; a longer one is no key of our table
LONGEST_KEY = 1024  # bytes; S3 takes no longer one, and neither would our record
SLOT_AHEAD = 900.0  # seconds that the scheduler's clock may be ahead of ours
PROBE = "fraudloop.doctor"  # the `source` of an event by which the doctor asks the step function whether KFP answers


def object_created(body: str) -> Object:
    """The object in an EventBridge `Object Created` envelope, whose keys come plain (S3's own are URL-encoded).

    The event's `id` is never used: an event may come twice under two ids.

    Raises:
        Malformed: not such an event; the message says what is missing.
    """
    envelope = _json(body)
    if envelope.get("detail-type") != "Object Created":
        raise Malformed(f"an event of type {envelope.get('detail-type')!r}, not 'Object Created'")
    try:
        bucket, obj = envelope["detail"]["bucket"]["name"], envelope["detail"]["object"]
        _short("key", str(obj["key"]))  # also: a lone surrogate is no key
        for name in ("etag", "version-id", "sequencer"):
            _short(name, str(obj.get(name, "")))
        return Object(
            bucket=str(bucket),
            key=str(obj["key"]),
            etag=str(obj["etag"]).strip('"'),
            version_id=str(obj.get("version-id", "")),
            size=int(obj.get("size", 0)),
            sequencer=str(obj.get("sequencer", "")),
            arrived_at=datetime.fromisoformat(envelope["time"]).timestamp(),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise Malformed(f"an 'Object Created' event without what it needs: {type(error).__name__}: {error}") from error


def hinted_run(body: str) -> str:
    """The run in a hint: our own, or an EventBridge envelope of a stage that announced its end. Raises `Malformed`."""
    message = _json(body)
    detail = message.get("detail")
    run_id = (detail if isinstance(detail, Mapping) else message).get("run_id")
    if not isinstance(run_id, str) or not run_id or len(run_id) > LONGEST_RUN or not run_id.isascii():
        raise Malformed("a hint that names no run")
    return run_id


def slot(event: Mapping[str, Any], now: float) -> str:
    """The scheduled time of a nightly event, by which it counts once: Scheduler's input, or a scheduled rule's `time`.

    In UTC and to the second, so that slots compare as times do. Raises `Malformed`: it is no time, or lies ahead.
    """
    found = event.get("slot") or event.get("time")
    if not isinstance(found, str) or not found:
        raise Malformed("a nightly event with neither 'slot' nor 'time'")
    at = _time(found)
    if at is None:
        raise Malformed(f"a nightly slot {clipped(found, 100)!r}, which is not a time like 2026-11-24T02:00:00Z")
    if at.timestamp() > now + SLOT_AHEAD:
        raise Malformed(f"a nightly slot {found!r}, which lies ahead: all slots before it would count as done")
    return at.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def counted(last_slot: str, now: float) -> str:
    """The last slot that was counted; "" for a stored slot that is no time or lies ahead, so that it blocks none."""
    at = _time(last_slot)
    return last_slot if at is not None and at.timestamp() <= now + SLOT_AHEAD else ""


def _time(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _short(name: str, text: str) -> None:
    if (size := len(text.encode())) > LONGEST_KEY:
        raise ValueError(f"its {name} has {size} bytes, more than {LONGEST_KEY}")


def _json(body: str) -> dict[str, Any]:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not JSON: {error}") from error
    if not isinstance(message, dict):
        raise Malformed(f"a {type(message).__name__}, not an object")
    return message
