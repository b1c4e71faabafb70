"""Reasons are kept: none may be missing, and `audit` prints every act with who, when, why and on what."""

import sys
from dataclasses import replace

import pytest
from played_runs import HAPPY, played, read

from cli.reasons import stated
from statemachine.contracts.report import Artifact
from statemachine.core.approval import subject_digest
from statemachine.core.model import Hold
from statemachine.core.reason import TransitionReason
from statemachine.core.window import Object

WAITING = [*HAPPY[:4], ("AWAITING_APPROVAL", 112, "passed_for_approval", "")]
FAILED = [*HAPPY[:3], ("FAILED", 50, TransitionReason.FAILED, "no memory")]


@pytest.mark.parametrize("command", ["approve", "reject"])
def test_the_reason_of_a_yes_and_a_no_is_kept(system, fraudloop, command):
    """It is on record with the wish, and stays after the run has gone on and the wish is done."""
    played(system, path=WAITING)
    assert fraudloop(command, "fraud-1", "--why", "the slices look right").exit_code == 0
    run = system.store.run("fraud-1")
    asked = run.approvals[0] if command == "approve" else run.operator_request
    assert asked.why == "the slices look right"
    done = replace(run, operator_request=None, approvals=(), version=run.version + 1)
    from statemachine.store import put_run

    system.store.table.write(put_run(done, "w"))
    (act,) = read(fraudloop("audit", "fraud-1", "--json"))
    assert (act["what"], act["why"], act["on"]) == (command, "the slices look right", "fraud-1")
    assert act["who"].startswith("arn:aws:")
    for told in (fraudloop("show", "fraud-1").stdout, fraudloop("why", "fraud-1").stdout):
        assert "the slices look right" in told


def test_an_approval_is_of_what_the_person_saw(system, fraudloop):
    """The digest that `show` prints is taken, also its first 12 digits; that of anything else is refused."""
    run = played(system, path=WAITING)
    digest = subject_digest(system.store.run(run.id))
    assert digest in fraudloop("show", "fraud-1").stdout.replace("\n", "").replace(" ", "")
    refused = fraudloop("approve", "fraud-1", "--why", "fine", "--digest", "0" * 64)
    assert refused.exit_code == 1
    assert "is not what would be deployed now" in refused.stderr.replace("\n", " ")
    assert fraudloop("approve", "fraud-1", "--why", "fine", "--digest", digest[:12]).exit_code == 0
    assert system.store.run("fraud-1").approvals[0].digest == digest


def test_a_wish_that_is_asked_twice_is_one_act(system, fraudloop):
    """The second one changes nothing."""
    played(system, path=WAITING)
    for _ in range(2):
        fraudloop("approve", "fraud-1", "--why", "fine")
    assert len(read(fraudloop("audit", "fraud-1", "--json"))) == 1


def test_a_wish_that_is_refused_is_no_act(system, fraudloop):
    """Nothing was done."""
    played(system, path=HAPPY[:3])
    assert fraudloop("approve", "fraud-1", "--why", "fine").exit_code == 1
    assert read(fraudloop("audit", "fraud", "--json")) == []


def test_audit_prints_every_kind_of_act(system, fraudloop):
    """Starts, cancels, redrives, rollbacks, holds, releases, quarantines, adoptions, reindexing: oldest first."""
    outputs = {"preprocess": {"dataset": Artifact("s3://fraudloop-artifacts/d")}}
    played(system, path=FAILED, outputs=outputs)
    system.files.write("s3://fraudloop-artifacts/d", b"rows")
    system.intake.arrive([Object("fraudloop-data", "data/fraud/a.csv", etag="a", size=9)])
    for command in (
        ["quarantine", "put", "data/fraud/a.csv", "--why", "why 1"],
        ["quarantine", "release", "data/fraud/a.csv", "--why", "why 2"],
        ["hold", "fraud", "--why", "why 3"],
        ["release", "fraud", "--why", "why 4"],
        ["reindex", "fraud", "--why", "why 5"],
        ["redrive", "fraud-1", "--from", "train", "--why", "why 6", "--yes"],
        ["cancel", "fraud-1-r1", "--why", "why 7"],
        ["start", "fraud", "--why", "why 8"],
    ):
        done = fraudloop(*command)
        assert done.exit_code == 0, done.output
    system.store.change_model("fraud", lambda model: replace(model, index=Artifact("s3://x"), indexed=1))
    system.operations.adopt("fraud", {"train": {"seed": 9}}, {"who": "ann", "why": "why 9", "uri": "s3://t/1.json"})
    told = read(fraudloop("audit", "fraud", "--json"))
    assert [(act["what"], act["why"]) for act in told if act["what"] != "reindex"] == [
        ("quarantine", "why 1"),
        ("release object", "why 2"),
        ("hold", "why 3"),
        ("release", "why 4"),
        ("redrive", "why 6"),
        ("cancel", "why 7"),
        ("start", "why 8"),
        ("adopt", "why 9"),
    ]
    assert all(act["who"] and act["at"] for act in told)
    assert "fraud-1-r1 (of fraud-1)" in fraudloop("audit", "fraud").stdout
    assert [act["why"] for act in read(fraudloop("audit", "fraud-1-r1", "--json"))] == ["why 6", "why 7"]


def test_a_hold_by_the_controller_itself_is_in_the_audit(system, fraudloop):
    """After a restore that failed: nobody typed it."""
    held = Hold("fraudloop", "fraud-1: the restore failed", 1_790_000_000.0)
    system.store.change_model("fraud", lambda model: replace(model, hold=held))
    (act,) = read(fraudloop("audit", "fraud", "--json"))
    assert (act["what"], act["who"], act["why"]) == ("hold", "fraudloop", "fraud-1: the restore failed")


def test_a_terminal_is_asked_for_the_reason_until_there_is_one(monkeypatch):
    """Elsewhere a missing reason is an error, which each command's wrong calls test."""
    answers = iter(["", "  ", " labels "])
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.prompt", lambda _: next(answers))
    assert stated("") == "labels"


def test_a_redrive_shows_what_it_keeps_before_it_begins(system, fraudloop):
    """Nothing begins where nobody can be asked; --yes begins it; an output that changed is refused as before."""
    outputs = {"preprocess": {"dataset": Artifact("s3://fraudloop-artifacts/d")}}
    played(system, path=FAILED, outputs=outputs)
    system.files.write("s3://fraudloop-artifacts/d", b"rows")
    shown = fraudloop("redrive", "fraud-1", "--from", "train", "--why", "more memory")
    assert shown.exit_code == 1
    assert "`--yes`" in shown.stderr
    assert "preprocess dataset s3://fraudloop-artifacts/d" in " ".join(shown.stdout.split())
    assert "It does again: train, evaluate, export, shadow, deploy" in shown.stdout
    assert system.store.load("fraud-1-r1") is None
    assert (
        read(fraudloop("redrive", "fraud-1", "--from", "train", "--why", "x", "--yes", "--json"))["parent"] == "fraud-1"
    )
