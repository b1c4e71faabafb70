"""Events from outside, as they were recorded: parsed once, or a clear error."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulation.memory.strategies import JSON
from statemachine.contracts.errors import Malformed
from statemachine.core.events import counted, hinted_run, object_created, slot
from statemachine.notifier import history_record

NOW = 1_795_485_600.0  # 2026-11-24T02:00:00Z

EVENTS = Path(__file__).parents[1] / "handlers" / "events"


def recorded(name: str) -> Any:
    return json.loads((EVENTS / f"{name}.json").read_text())


def created(**changes: Any) -> str:
    envelope = recorded("object_created")
    envelope["detail"]["object"] = {**envelope["detail"]["object"], **changes}
    return json.dumps(envelope)


def test_an_object_created_event_is_read() -> None:
    """Keys come plain in EventBridge: a space is a space, and `+` is a plus."""
    obj = object_created(json.dumps(recorded("object_created")))
    assert (obj.bucket, obj.key, obj.etag) == (
        "fraudloop-data",
        "data/fraud/a b+c.csv",
        "b1946ac92492d2347c6235b4d2611184",
    )
    assert (obj.size, obj.sequencer, obj.arrived_at) == (5312, "0062E99A88DC407460", 1795482787.0)
    assert obj.version_id


def test_a_unicode_key_is_read() -> None:
    """As it is."""
    assert "überweisungen" in object_created(json.dumps(recorded("object_created_unicode"))).key


def test_the_same_event_under_another_id_is_the_same_object() -> None:
    """The event's id is never used: an event may come twice under two ids."""
    once, twice = recorded("object_created"), {**recorded("object_created"), "id": "another"}
    assert object_created(json.dumps(once)) == object_created(json.dumps(twice))


def test_an_etag_has_no_quotes() -> None:
    """S3's listings quote it, its events do not: the identity must be the same."""
    assert object_created(created(etag='"abc"')).etag == "abc"


def test_the_messages_of_an_sqs_batch_are_read_one_by_one() -> None:
    """Each body is an envelope; one that is none does not take its neighbours with it."""
    bodies = [record["body"] for record in recorded("arrival_batch")["Records"]]
    assert bodies
    good = 0
    for body in bodies:
        try:
            good += bool(object_created(body).key)
        except Malformed:
            continue
    assert good


@pytest.mark.parametrize(
    "body",
    [
        "",
        "not JSON",
        "[]",
        "3",
        "[" * 100_000,
        "{}",
        json.dumps({"detail-type": "Object Deleted"}),
        json.dumps({"detail-type": "Object Created"}),
        json.dumps({"detail-type": "Object Created", "detail": []}),
        json.dumps({**recorded("object_created"), "time": "yesterday"}),
        created(size="large"),
        created(etag=None).replace('"etag": null, ', ""),
        created(key="data/fraud/\ud800.csv"),
        created().replace("5312", "1e999"),
    ],
)
def test_a_message_that_cannot_be_understood_is_malformed(body: str) -> None:
    """It goes to the dead-letter queue alone."""
    with pytest.raises(Malformed):
        object_created(body)


@given(JSON.map(json.dumps) | st.text(max_size=30))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_any_text_is_an_event_or_malformed(body: str) -> None:
    """Nothing else is ever raised, by any of the parsers."""
    for parse in (object_created, hinted_run):
        try:
            parse(body)
        except Malformed:
            continue


@pytest.mark.parametrize(
    "body",
    [
        '{"run_id": "fraud-7"}',
        '{"detail-type": "Stage Finished", "detail": {"run_id": "fraud-7", "stage": "train"}}',
    ],
)
def test_a_hint_names_a_run(body: str) -> None:
    """Our own, or a stage's announcement of its end."""
    assert hinted_run(body) == "fraud-7"


@pytest.mark.parametrize("body", ["{}", '{"run_id": 7}', '{"run_id": ""}', '{"detail": {}}', "[]", "x"])
def test_a_hint_that_names_none_is_malformed(body: str) -> None:
    """It can help nobody."""
    with pytest.raises(Malformed):
        hinted_run(body)


def test_a_night_is_its_scheduled_time() -> None:
    """EventBridge Scheduler's input, or a scheduled rule's time; the time at which it came plays no part."""
    assert slot(recorded("nightly_scheduler"), NOW) == "2026-11-24T02:00:00Z"
    assert slot(recorded("nightly_rule"), NOW) == recorded("nightly_rule")["time"]
    assert slot({"slot": "2026-11-24T03:00:00+01:00"}, NOW) == "2026-11-24T02:00:00Z"
    with pytest.raises(Malformed, match="neither"):
        slot({"id": "x"}, NOW)


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"slot": "test"}, "not a time"),  # cases/events/night_slot_not_a_time.json
        ({"time": "2027-11-27T02:00:00Z"}, "lies ahead"),  # cases/events/night_slot_a_year_ahead.json
        ({"slot": "9999-12-31T23:59:59-23:59"}, "not a time"),
        ({"slot": "2026-11-24T02:15:01Z"}, "lies ahead"),
    ],
)
def test_a_slot_that_is_no_time_or_lies_ahead_is_malformed(event: dict[str, str], message: str) -> None:
    """It would become the marker behind which all nights count as done."""
    with pytest.raises(Malformed, match=message):
        slot(event, NOW)


def test_a_slot_may_be_as_far_ahead_as_clocks_differ() -> None:
    """A scheduler whose clock is a quarter of an hour fast is believed."""
    assert slot({"slot": "2026-11-24T02:15:00Z"}, NOW) == "2026-11-24T02:15:00Z"


@pytest.mark.parametrize("marker", ["", "test", "2027-11-27T02:00:00Z", "zzz"])
def test_a_poisoned_marker_counts_nothing(marker: str) -> None:
    """It was written before slots were checked; the next slot replaces it."""
    assert counted(marker, NOW) == ""
    assert counted("2026-11-23T02:00:00Z", NOW) == "2026-11-23T02:00:00Z"


@pytest.mark.parametrize("name", ["key", "etag", "version-id", "sequencer"])
def test_an_object_that_no_record_could_hold_is_malformed(name: str) -> None:
    """S3 has no key beyond 1,024 bytes; a forged event must not cost the batch it comes in."""
    event = recorded("object_created")
    event["detail"]["object"][name] = "ü" * 513
    with pytest.raises(Malformed, match=f"its {name} has 1026 bytes"):
        object_created(json.dumps(event))


def test_a_stream_record_is_a_line_of_history_or_nothing() -> None:
    """Only inserted history entries are announced; all other stream records are skipped."""
    records = [history_record(record) for record in recorded("stream")["Records"]]
    assert any(records)
    assert all(one is None or one.entry.run_id for one in records)
