import json
import os
from typing import Any

import pytest
from played_runs import HAPPY, played, read

from local.aws import resources


@pytest.fixture
def running(system):
    return played(system, path=HAPPY[:3])


@pytest.mark.usefixtures("running")
def test_cancel_is_a_wish_in_the_callers_name(system, fraudloop):
    """Who it was (from STS) and why are on record; the state is the reconciler's to change."""
    read(fraudloop("cancel", "fraud-1", "--why", "wrong data", "--json"))
    run = system.store.run("fraud-1")
    assert run.state.value == "TRAINING"
    assert (run.operator_request.kind.value, run.operator_request.why) == ("cancel", "wrong data")
    assert run.operator_request.who.startswith("arn:aws:")


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize("command", ["approve", "reject"])
def test_what_the_state_forbids_is_refused_with_the_reason(fraudloop, command):
    """Status 1, and a sentence that says what would be needed."""
    result = fraudloop(command, "fraud-1", "--why", "fine")
    assert result.exit_code == 1
    assert "only a run that is AWAITING_APPROVAL" in result.stderr


@pytest.mark.usefixtures("succeeded")
def test_a_rollback_names_the_versions_that_it_could_bring_back(fraudloop):
    """An unknown version is refused."""
    result = fraudloop("rollback", "fraud", "--to", "fraud-9-00000000", "--why", "complaints")
    assert result.exit_code == 1
    assert "known: fraud-1-aabbccdd" in result.stderr
    run = read(fraudloop("rollback", "fraud", "--to", "fraud-1-aabbccdd", "--why", "complaints", "--json"))
    assert (run["kind"], run["target"], run["trigger"]["why"]) == ("restore", "fraud-1-aabbccdd", "complaints")


def test_hold_and_release(system, fraudloop):
    """A held model starts nothing and says who held it; released, it does again."""
    assert read(fraudloop("hold", "fraud", "--why", "audit", "--json"))["hold"]["why"] == "audit"
    refused = fraudloop("start", "fraud")
    assert refused.exit_code == 1
    assert ": audit; `fraudloop release fraud` first" in refused.stderr
    assert read(fraudloop("release", "fraud", "--why", "audited", "--json"))["hold"] is None
    assert fraudloop("start", "fraud").exit_code == 0


@pytest.mark.usefixtures("succeeded")
def test_redrive_from_a_stage_that_needs_what_is_not_there_is_refused(fraudloop):
    """The parent's outputs are checked before a new run begins."""
    result = fraudloop("redrive", "fraud-1", "--from", "train", "--why", "again")
    assert result.exit_code == 1
    assert "has no outputs of preprocess" in result.stderr


@pytest.mark.usefixtures("succeeded")
def test_quarantine_put_list_release(fraudloop):
    """An object is set aside with the reason, shown, and let back in."""
    (empty,) = read(fraudloop("quarantine", "list", "--json"))
    assert (empty["key"], empty["reason"]) == ("data/fraud/b.csv", "the file is empty")
    fraudloop("quarantine", "put", "data/fraud/a.csv", "--why", "labels are shuffled")
    keys = {thing["key"]: thing["reason"] for thing in read(fraudloop("quarantine", "list", "--json"))}
    assert keys["data/fraud/a.csv"].endswith("labels are shuffled")
    fraudloop("quarantine", "release", "data/fraud/a.csv", "--why", "a mistake")
    assert [thing["key"] for thing in read(fraudloop("quarantine", "list", "--json"))] == ["data/fraud/b.csv"]
    assert fraudloop("quarantine", "put", "data/fraud/c.csv", "--why", "x").exit_code == 1


def test_dead_letters_are_listed_and_put_back(system, fraudloop):
    """Listing takes nothing away; replaying moves each to the queue that it came from, once."""
    sqs = system.client("sqs")
    url = {name: sqs.get_queue_url(QueueName=name)["QueueUrl"] for name in (resources.HINTS, f"{resources.HINTS}-dlq")}
    dead, alive = url[f"{resources.HINTS}-dlq"], url[resources.HINTS]
    for body in ("one", "two"):
        sqs.send_message(QueueUrl=dead, MessageBody=body)
    assert sorted(m["body"] for m in read(fraudloop("dlq", "list", "--json"))) == ["one", "two"]
    for message in sqs.receive_message(QueueUrl=dead, MaxNumberOfMessages=10).get("Messages", []):
        raise AssertionError(f"{message} should be hidden for a while after it was listed")
    sqs.purge_queue(QueueUrl=dead)
    sqs.send_message(QueueUrl=dead, MessageBody="three")
    assert read(fraudloop("dlq", "replay", "--queue", "hints", "--json")) == {"hints": 1}
    assert [m["Body"] for m in sqs.receive_message(QueueUrl=alive)["Messages"]] == ["three"]
    assert read(fraudloop("dlq", "replay", "--json")) == {"arrivals": 0, "hints": 0, "nightly": 0}
    assert fraudloop("dlq", "list", "--queue", "hnits").exit_code == 1


LAMBDA_SAID = {
    "requestContext": {"condition": "RetriesExhausted", "approximateInvokeCount": 3},
    "requestPayload": {"slot": "test"},
    "responsePayload": {"errorType": "Malformed", "errorMessage": "a night at 'test', which is no time"},
}
SCHEDULER_SAID = {
    "ERROR_CODE": {"DataType": "String", "StringValue": "AccessDeniedException"},
    "ERROR_MESSAGE": {"DataType": "String", "StringValue": "not allowed to invoke"},
}


def test_every_dead_letter_queue_is_shown_with_its_reasons(system, fraudloop, monkeypatch):
    """The night's too, and those that only the stack's output names; a message is data, never markup or a command."""
    sqs = system.client("sqs")
    events = sqs.create_queue(QueueName="prod-EventsDlq-1X2Y")["QueueUrl"]
    night = os.environ["FRAUDLOOP_NIGHTLY_DLQ_URL"]
    monkeypatch.setenv("DEAD_LETTER_QUEUES", f"{night},{events}")
    dead = {name: sqs.get_queue_url(QueueName=f"{name}-dlq")["QueueUrl"] for name in (resources.ARRIVALS,)}
    sqs.send_message(QueueUrl=night, MessageBody=json.dumps(LAMBDA_SAID))
    sqs.send_message(QueueUrl=events, MessageBody="{}", MessageAttributes=SCHEDULER_SAID)
    sqs.send_message(QueueUrl=dead[resources.ARRIVALS], MessageBody='{"detail-type": "[red]\\u001b]8;;x"}')
    told = {m["queue"]: m["reason"] for m in read(fraudloop("dlq", "list", "--json"))}
    assert told["nightly"] == "Malformed: a night at 'test', which is no time"
    assert told["events"] == "AccessDeniedException: not allowed to invoke"
    assert told["arrivals"].startswith("an event of type")
    sqs.send_message(QueueUrl=dead[resources.ARRIVALS], MessageBody="[red]\x1b[31mnot JSON")
    shown = fraudloop("dlq", "list").stdout
    assert "[red]" in shown
    assert "\x1b" not in shown


def test_a_night_is_put_back_by_invoking_it_with_what_it_was_given(system, fraudloop, monkeypatch):
    """Lambda's destination wraps the event; what is refused again stays in the queue."""
    sqs, given = system.client("sqs"), list[Any]()
    night = os.environ["FRAUDLOOP_NIGHTLY_DLQ_URL"]
    sqs.send_message(QueueUrl=night, MessageBody=json.dumps(LAMBDA_SAID))
    monkeypatch.setattr("cli.commands.dlq.invoke_with", given.append)
    assert read(fraudloop("dlq", "replay", "--queue", "nightly", "--json")) == {"nightly": 1}
    assert given == [{"slot": "test"}]


@pytest.mark.parametrize("slot", ["test", "2099-01-01T02:00:00Z"])
def test_a_night_that_is_no_time_or_lies_ahead_is_refused_by_the_command(system, fraudloop, slot):
    """Before anything is invoked."""
    result = fraudloop("night", "--slot", slot)
    assert result.exit_code == 1
    assert "a nightly slot" in result.stderr
