"""Events from outside, as they were recorded: parsed once, or a clear error."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulation.memory.strategies import JSON
from statemachine.contracts.errors import Malformed
from statemachine.core.events import hinted_run, object_created, slot
from statemachine.notifier import history_record

EVENTS = Path(__file__).parents[1] / "handlers" / "events"


def recorded(name: str) -> Any:
    return json.loads((EVENTS / f"{name}.json").read_text())


def created(**changes: Any) -> str:
    envelope = recorded("object_created")
    envelope["detail"]["object"] = {**envelope["detail"]["object"], **changes}
    return json.dumps(envelope)


def test_an_object_created_event_is_read() -> None:
    """Keys come plain in EventBridge: a space is a space, and `+` is a plus."""
    thing = object_created(json.dumps(recorded("object_created")))
    assert (thing.bucket, thing.key, thing.etag) == (
        "fraudloop-data",
        "data/fraud/a b+c.csv",
        "b1946ac92492d2347c6235b4d2611184",
    )
    assert (thing.size, thing.sequencer, thing.arrived_at) == (5312, "0062E99A88DC407460", 1795482787.0)
    assert thing.version_id


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
    assert slot(recorded("nightly_scheduler"))
    assert slot(recorded("nightly_rule")) == recorded("nightly_rule")["time"]
    with pytest.raises(Malformed, match="neither"):
        slot({"id": "x"})


def test_a_stream_record_is_a_line_of_history_or_nothing() -> None:
    """Only inserted entries are told; everything else in the stream is passed over."""
    told = [history_record(record) for record in recorded("stream")["Records"]]
    assert any(told)
    assert all(one is None or one.entry.run_id for one in told)
