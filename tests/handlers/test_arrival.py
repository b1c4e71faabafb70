"""Arrivals: each object once, the malformed alone, the strange set aside."""

from itertools import chain

import pytest

from statemachine.core.window import Status


def test_a_batch_joins_the_open_window(invoke):
    """Two objects, one of them delivered twice under another event id; keys arrive plain, `+` and blanks included."""
    invoke("arrival", "arrival_batch")
    objects = {obj.key: obj for obj in invoke.app().intake.objects("fraud")}
    assert set(objects) == {"data/fraud/a b+c.csv", "data/fraud/überweisungen/2026-11-23.csv"}
    assert all(obj.epoch == 1 and obj.status is Status.PENDING for obj in objects.values())
    assert invoke.app().intake.window("fraud").count == 2


def test_malformed_messages_go_back_alone(invoke):
    """Their neighbours are taken in; only they are tried again, and end in the dead-letter queue."""
    answer = invoke("arrival", "arrival_batch")
    assert [f["itemIdentifier"][-4:] for f in answer["batchItemFailures"]] == ["0004", "0005"]


def test_the_same_batch_again_changes_nothing(invoke):
    """S3 and SQS deliver at least once."""
    invoke("arrival", "arrival_batch")
    invoke("arrival", "arrival_batch")
    assert invoke.app().intake.window("fraud").count == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"key": "elsewhere/a.csv"}, "no model has a prefix"),
        ({"key": "data/fraud/folder/"}, "a folder"),
        ({"key": "data/fraud/../a.csv"}, "'..'"),
        ({"key": "data/fraud/empty.csv", "size": 0}, "empty"),
        ({"key": "data/fraud/huge.csv", "size": 6 * 1024**3}, "max_object_bytes"),
    ],
)
def test_what_cannot_teach_is_set_aside_with_the_reason(invoke, one_message, change, reason):
    """Quarantined on record, in no window."""
    message = one_message("object_created", change)
    assert invoke("arrival", {"Records": [message]}) == {"batchItemFailures": []}
    intake = invoke.app().intake
    (obj,) = chain(intake.objects("fraud"), intake.objects("-"))
    assert obj.status is Status.QUARANTINED
    assert reason in obj.reason
    assert intake.window("fraud").count == 0


def test_a_marker_closes_the_window_at_once(invoke, one_message, hints):
    """`_SUCCESS` says that the upload is complete; the next tick makes the run."""
    invoke("arrival", "arrival_batch")
    invoke("arrival", {"Records": [one_message("object_created", {"key": "data/fraud/_SUCCESS", "size": 0})]})
    invoke("tick", "tick")
    run = invoke.app().store.run("fraud-1")
    assert run.trigger.why == "data/fraud/_SUCCESS arrived"
    assert hints() == ["fraud-1"]
