from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from cli.commands.run_summary import tell, visits
from cli.commands.show import labels_in_words, render
from statemachine.contracts.stage import Stage
from statemachine.core.model import Hold, Model, Release
from statemachine.core.policy import Policy, StagePolicy
from statemachine.core.reason import TransitionReason
from statemachine.core.run import OperatorRequest, RequestKind, Run, Transition, Trigger
from statemachine.core.states import ACTIVE, State
from statemachine.core.window import Object

NOW = 10_000.0
POLICY = Policy("fraud", "data/fraud/", "s3://artifacts", stages={Stage.TRAIN: StagePolicy(600, 7200)})
SERVING = Model("fraud", champion=Release("fraud-1-aaaaaaaa", "fraud-1", "s3://x", 1, 0.0))
RUN = Run("fraud-2", "fraud", 2, State.TRAINING, created_at=9_000.0, entered_at=9_500.0, attempt=1)


def story(run, model=SERVING, history=(), objects=()):
    return tell(run, history, model, POLICY, objects, NOW, "https://kfp.example/")


@pytest.mark.parametrize("state", list(State))
def test_every_state_is_told_and_names_who_is_next(state):
    """A headline, and who acts next: nobody, the controller, or a person with the command to type."""
    told = story(replace(RUN, state=state, reason="because", candidate="fraud-2-bbbbbbbb", target="fraud-1-aaaaaaaa"))
    assert told.headline.endswith(".")
    assert told.following.split()[0] in ("Nobody:", "A", "The", "KFP", "Attempt")


@pytest.mark.parametrize("state", ACTIVE)
def test_a_wish_is_told_before_anything_else(state):
    """Who asked for what, and why: the next pass acts on it."""
    told = story(
        replace(
            RUN,
            state=state,
            operator_request=OperatorRequest(RequestKind.CANCEL, "arn:aws:iam::1:user/ann", "wrong data", NOW),
        )
    )
    assert told.following.startswith("arn:aws:iam::1:user/ann asked to cancel it (wrong data)")


def test_a_run_that_waits_for_approval_names_both_commands_and_its_deadline():
    """In hours, from the policy."""
    told = story(replace(RUN, state=State.AWAITING_APPROVAL, entered_at=NOW - 3600))
    assert "`fraudloop approve fraud-2` or `fraudloop reject fraud-2`" in told.following
    assert "in 47.0 h" in told.following


def test_a_working_stage_tells_its_deadlines():
    """To start, and to finish."""
    assert "600 s to start and then 7200 s to finish" in story(RUN).following


def test_a_pause_before_another_attempt_is_told():
    """With its number and the time that is left."""
    told = story(replace(RUN, attempt=2, retry_at=NOW + 25))
    assert told.following == "Attempt 2 of train begins in 25 s."


def test_a_failed_run_names_the_stage_to_redrive_from():
    """The first one that has no outputs."""
    failed = replace(RUN, state=State.FAILED, outputs={"preprocess": {}})
    assert "`fraudloop redrive fraud-2 --from train`" in story(failed).following


def test_a_hold_is_the_first_thing_to_end():
    """Nothing else helps before it is released."""
    held = replace(SERVING, hold=Hold("fraudloop", "fraud-2: the restore failed", NOW))
    told = story(replace(RUN, state=State.FAILED, outputs={"preprocess": {}}), held)
    assert "`fraudloop release fraud`" in told.following
    assert "on hold" in told.headline


def test_a_success_that_was_replaced_says_so():
    """The reader wants to know what serves now."""
    told = story(replace(RUN, state=State.SUCCEEDED, candidate="fraud-2-bbbbbbbb"))
    assert told.headline.endswith("became the champion; fraud-1-aaaaaaaa serves now.")


def test_history_becomes_stays():
    """Each entry ends one stay and begins the next; the last lasts until now, or not at all if the run rests."""
    entries = [
        Transition("fraud-2", 1, 100.0, "", "QUEUED", TransitionReason.ARRIVAL),
        Transition("fraud-2", 2, 103.0, "QUEUED", "PREPROCESSING", TransitionReason.FROM_PREPROCESS),
        Transition(
            "fraud-2",
            3,
            110.0,
            "PREPROCESSING",
            "PREPROCESSING",
            TransitionReason.RETRYABLE_FAILURE,
            "evicted",
            attempt=1,
        ),
        Transition(
            "fraud-2",
            4,
            120.0,
            "PREPROCESSING",
            "CANCELLED",
            TransitionReason.CANCELLED,
            "by ann",
            attempt=2,
            who="ann",
        ),
    ]
    stays = visits(entries[:3], 150.0)
    assert [(stay.state, stay.seconds) for stay in stays] == [
        ("QUEUED", 3),
        ("PREPROCESSING", 7),
        ("PREPROCESSING", 40),
    ]
    assert stays[1].left_because == "retryable failure: evicted"
    stays = visits(entries, 150.0)
    assert (stays[2].seconds, stays[2].attempt, stays[2].who) == (10, 2, "ann")
    assert (stays[3].state, stays[3].seconds) == ("CANCELLED", 0)


def test_only_the_runs_own_objects_are_shown():
    """Those of its epoch; a restore run has none."""
    objects = [Object("b", "x", "1", epoch=1), Object("b", "y", "2", epoch=2)]
    assert [thing.key for thing in story(RUN, objects=objects).objects] == ["y"]
    assert not story(replace(RUN, epoch=0), objects=[Object("b", "z", "3")]).objects


def test_links_lead_to_kfp_and_to_the_files():
    """The page of the run in KFP's UI, if its address is known."""
    links = story(replace(RUN, kfp_id="1234", trigger=Trigger("nightly", "2026"))).links
    assert links["KFP run"] == "https://kfp.example/#/runs/details/1234"
    assert links["files"] == "s3://artifacts/runs/fraud-2/"


def test_corrections_are_shown():
    """How many rows a later delivery replaced, if any."""
    metrics = {"corrected": 40.0, "duplicates": 5330.0}
    for run, told in [(replace(RUN, metrics=metrics), True), (RUN, False)]:
        screen = Console(width=120, record=True, file=StringIO())
        screen.print(render(run, story(run)))
        assert ("Delivered again: 40 rows were corrected, 5,330 repeated." in screen.export_text()) is told


def test_what_the_labels_feed_said_is_shown():
    """Corrections, reports and those that wait; nothing of what there is none of."""
    assert labels_in_words({"labels_corrected": 197.0, "reports": 1200.0, "reports_waiting": 3.0}) == (
        "197 labels corrected, 1,200 transactions reported, 3 reports wait for theirs"
    )
    assert labels_in_words({"labels_corrected": 0.0, "reports": 5.0}) == "5 transactions reported"
    screen = Console(width=120, record=True, file=StringIO())
    run = replace(RUN, metrics={"labels_corrected": 197.0})
    screen.print(render(run, story(run)))
    assert "197 labels corrected." in screen.export_text()
