"""Notifications: one message per important transition, once in practice, without secrets, whatever Slack does."""

import re
from dataclasses import dataclass, field, replace
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulation.memory.table import MemoryTable
from statemachine.contracts.errors import Unreachable
from statemachine.contracts.metrics import METRICS, Emitter, emitted_by
from statemachine.core.approval import subject_digest
from statemachine.core.characters import UNSAFE
from statemachine.core.model import Model, Release
from statemachine.core.policy import ApprovalPolicy, Policy
from statemachine.core.reason import TransitionReason
from statemachine.core.run import Run, RunKind, Transition, Trigger
from statemachine.core.states import State
from statemachine.notifier import HistoryRecord, Notifier
from statemachine.ports import Clause, Key, Put
from statemachine.reporting.cost import run_cost
from statemachine.reporting.notifications import escaped, message, metric_samples, redacted
from statemachine.reporting.prices import Prices
from statemachine.reporting.usage import control_use, stage_uses
from statemachine.store import Store, model_key, put_model, put_run

CHAMPION = Release("fraud-6-aaaaaaaa", "fraud-6", "s3://a/models/fraud/6", 4, 0.0, {"auc_roc": 0.96, "f1": 0.5})
NEWER = Release("fraud-7-bbbbbbbb", "fraud-7", "s3://a/models/fraud/7", 5, 1.0)
MODEL = Model("fraud", champion=CHAMPION)
CROWNED = Model("fraud", champion=NEWER, predecessors=(CHAMPION,))
RUN = Run(
    "fraud-7",
    "fraud",
    7,
    State.SUCCEEDED,
    version=1,
    created_at=100.0,
    trigger=Trigger("arrival", why="quiet for 300 s"),
    metrics={"auc_roc": 0.974, "average_precision": 0.61, "f1": 0.55},
    champion=CHAMPION.version,
    candidate=NEWER.version,
)
UI = "https://kfp.internal/"


def entry(source, dest, row=TransitionReason.REPORTED, version=5, reason="", attempt=1, kfp_id="abc-1", **metrics):
    details = {"metrics": metrics} if metrics else {}
    return Transition("fraud-7", version, 700.0, source, dest, row, reason, attempt, kfp_id=kfp_id, details=details)


def announced(source, dest, model=MODEL, run=RUN, **more):
    return message(entry(source, dest, **more), run, model, UI)


@dataclass
class Chat:
    """A Slack in memory that can be unreachable."""

    wanted: bool = True
    away: bool = False
    announced: list = field(default_factory=list)
    asked: int = 0

    def post(self, text):
        self.asked += 1
        if self.away:
            raise Unreachable("Slack answered 503")
        self.announced.append(text)


@pytest.fixture
def store():
    ids = count()
    store = Store(MemoryTable(), lambda: f"w{next(ids)}")
    store.table.write(put_run(RUN, "w"))
    store.table.write(
        put_model(MODEL, "w")
        if MODEL.version
        else Put(model_key("fraud"), dict(put_model(MODEL, "w").item), Clause("new"))
    )
    return store


@pytest.fixture
def chat():
    return Chat()


@pytest.fixture
def notifier(store, chat):
    ids = count()
    return Notifier(store, chat, lambda: 1000.0, lambda: f"m{next(ids)}", UI)


FAILED = HistoryRecord("fraud", entry("TRAINING", "FAILED", reason="boom", attempt=3))
STARTED = HistoryRecord("fraud", entry("QUEUED", "PREPROCESSING", version=2))


# -- the messages ---------------------------------------------------------------------------------------------------


def test_a_start_message_names_the_trigger():
    """Which run, and why now."""
    assert announced("QUEUED", "PREPROCESSING") == "*fraud-7 started* (arrival quiet for 300 s)."


def test_a_rejection_message_has_the_reason_and_the_serving_version():
    """The gate's own words, and the champion that still serves."""
    text = announced("EVALUATING", "REJECTED", reason="auc_roc: 0.85 is below 0.9")
    assert text == "*fraud-7 refused* (evaluate): auc_roc: 0.85 is below 0.9. fraud-6-aaaaaaaa serves."


def test_a_failure_names_stage_and_attempt_and_links_to_kfp():
    """Enough to begin to look."""
    text = announced("TRAINING", "FAILED", reason="out of memory", attempt=3)
    assert "failed* in train, attempt 3: out of memory." in text
    assert "<https://kfp.internal/#/runs/details/abc-1|KFP run>" in text


def test_a_deployment_shows_its_metrics_beside_the_champion_s():
    """The one that serves, against the one that served."""
    text = announced("DEPLOYING", "SUCCEEDED", model=CROWNED)
    assert "fraud-7-bbbbbbbb serves fraud" in text
    assert "AUC 0.974 (champion 0.960), AP 0.610, F1 0.550 (champion 0.500) against fraud-6-aaaaaaaa." in text


def test_the_first_version_has_nobody_beside_it():
    """Without a champion there is no comparison."""
    text = announced(
        "DEPLOYING", "SUCCEEDED", run=Run("fraud-0", "fraud", 0, State.SUCCEEDED, metrics={"auc_roc": 0.95})
    )
    assert text.endswith("AUC 0.950, the first version.")


def test_rollback_restore_and_hold_have_different_messages():
    """An automatic rollback, a restore that an operator requested, and a failed restore, which alerts the whole
    channel.
    """
    assert "rolled back*: fraud-7-bbbbbbbb did not come up: no READY." in announced(
        "ROLLING_BACK", "ROLLED_BACK", reason="no READY"
    )
    asked = Run(
        "fraud-rollback-9",
        "fraud",
        0,
        State.SUCCEEDED,
        RunKind.RESTORE,
        target="fraud-5-c",
        trigger=Trigger("rollback", "ann"),
    )
    assert "fraud-5-c serves fraud again, as ann asked" in announced("ROLLING_BACK", "SUCCEEDED", run=asked)
    assert announced("ROLLING_BACK", "FAILED", reason="x").startswith("<!channel> *fraud is on hold*")


def test_an_approval_message_has_the_command():
    """People learn that they are waited for."""
    assert "`fraudloop approve fraud-7`" in announced("EVALUATING", "AWAITING_APPROVAL")


def test_an_approval_message_has_figures_the_page_and_who_may_act():
    """What the shadow said, the digest of what is approved, a link to the console; who is barred is named."""
    checks = [{"name": "disagreement", "note": "1.0% of the requests get another decision"}]
    run = replace(
        RUN,
        shadow={"outcome": "pass", "checks": checks},
        trigger=Trigger("person", "arn:aws:iam::1:user/Ann", "why"),
    )
    policy = Policy("fraud", "data/fraud/", approval=ApprovalPolicy(approvers=2, separate=True))
    asks = entry("SHADOWING", "AWAITING_APPROVAL")
    text = message(asks, run, MODEL, UI, "https://console.example/", policy)
    assert "Shadow: pass; 1.0% of the requests get another decision." in text
    assert "2 persons have to say yes, not arn:aws:iam::1:user/Ann." in text
    assert f"Digest {subject_digest(run)[:12]}." in text
    assert "<https://console.example/runs/fraud-7|Look and decide>" in text
    assert "<" not in message(asks, run, MODEL, UI, "", policy)


@pytest.mark.parametrize(("source", "dest"), [("", "QUEUED"), ("TRAINING", "EVALUATING"), ("TRAINING", "TRAINING")])
def test_intermediate_transitions_are_not_announced(source, dest):
    """A quiet channel is read."""
    assert announced(source, dest) == ""


@pytest.mark.parametrize(
    "secret",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "Bearer abc.def",
        "eyJhbGciOi.eyJzdWIi.SflKxw",
        "https://hooks.slack.com/services/T0/B0/XXXX",
        "https://s3/x?X-Amz-Signature=0123abcd",
        "password=hunter2",
        '"token": "hunter2"',
        "https://joe:hunter2@proxy/",
    ],
)
def test_a_credential_in_a_reason_is_masked(secret):
    """A stage's error text may quote anything, and many people read the chat."""
    text = announced("TRAINING", "FAILED", reason=f"cannot read {secret} at all")
    for part in ("AKIAIOSFODNN7EXAMPLE", "abc.def", "SflKxw", "XXXX", "0123abcd", "hunter2"):
        assert part not in text
    assert "[masked]" in text
    assert "at all" in text


def test_a_reason_is_cut_and_cannot_ping_anybody():
    """A file named <!channel> is just a name, and a traceback does not fill the screen."""
    assert escaped("<!channel> & co") == "&lt;!channel&gt; &amp; co"
    assert len(redacted("x" * 5000)) == 600


# -- once in practice -------------------------------------------------------------------------------------------------


def test_a_repeated_record_is_announced_once(notifier, chat):
    """The stream delivers at least once; the marker makes it once."""
    assert notifier.announce([FAILED]) == 0
    assert notifier.announce([FAILED, FAILED]) == 0
    assert len(chat.announced) == 1


def test_a_message_that_slack_refused_is_sent_later_and_once(notifier, chat):
    """At least once: a message outlives Slack's outage."""
    chat.away = True
    assert notifier.announce([FAILED]) == 1
    chat.away = False
    assert notifier.announce([STARTED]) == 0
    assert notifier.announce([FAILED, STARTED]) == 0
    assert ["failed" in text for text in chat.announced] == [True, False]


def test_an_unreachable_slack_gets_one_request_per_pass(notifier, chat):
    """Each refusal may take seconds, and the function has sixty."""
    chat.away = True
    assert notifier.announce([STARTED, FAILED]) == 2
    assert chat.asked == 1
    assert notifier.announce([]) == 2
    assert chat.asked == 2


def test_markers_outlive_the_stream_and_then_expire(notifier, store):
    """A record can come again for 24 hours; the table does not grow for ever."""
    notifier.announce([FAILED])
    item = store.table.get(Key("SLACK", "fraud-7#00000005"))
    assert item["expires_at"] - 1000 > 2 * 86_400


def test_without_a_webhook_nothing_is_marked(store):
    """If Slack is configured later, old messages are not sent."""
    assert Notifier(store, Chat(wanted=False), lambda: 0.0, str).announce([FAILED]) == 0
    assert not list(store.table.query("SLACK"))


def test_a_transition_of_a_deleted_run_is_still_announced(chat):
    """The transition itself has enough information."""
    store = Store(MemoryTable(), iter("abcdefgh").__next__)
    Notifier(store, chat, lambda: 0.0, iter("xyz").__next__).announce([FAILED])
    assert "attempt 3: boom" in chat.announced[0]


# -- metrics ----------------------------------------------------------------------------------------------------------


def as_dict(found):
    return {metric.name: metric.value for metric in found}


PODS = {"pod_cpus": 3.0, "pod_memory_gib": 12.0, "pod_gpus": 1.0}


def attempt(source, dest, stage, seconds):
    reported = {f"pod_seconds.{stage}": seconds} | {f"{name}.{stage}": value for name, value in PODS.items()}
    return replace(entry(source, dest, **reported), kfp_id="kfp-1")


def test_an_end_is_counted_with_its_duration_its_cost_and_its_quality():
    """RunCost equals `fraudloop cost`: all attempts, priced by the same function and table."""
    history = [
        entry("QUEUED", "PREPROCESSING"),
        attempt("PREPROCESSING", "TRAINING", "preprocess", 360.0),
        attempt("TRAINING", "TRAINING", "train", 1800.0),
        attempt("TRAINING", "EVALUATING", "train", 3600.0),
    ]
    prices = Prices.from_dict(
        {"nodes": {"g4dn.xlarge": {"dollars_per_hour": 1.0, "cpus": 4, "memory_gib": 16, "gpus": 1}}}
    )
    last = entry("DEPLOYING", "SUCCEEDED", **{"pod_seconds.deploy": 30.0})
    found = as_dict(metric_samples(last, RUN, history, prices))
    assert found["RunCost"] == run_cost(stage_uses(history), control_use(RUN, history), prices, 1).marginal
    assert found["RunCost"] == pytest.approx(1.6 * (1 + prices.idle_share), rel=0.01), "5,760 s of a node at $1 an hour"
    found = {name: value for name, value in found.items() if name != "RunCost"}
    assert found == {
        "StageDuration": 30.0,
        "RunsSucceeded": 1,
        "RunDuration": 600.0,
        "ModelAucRoc": 0.974,
        "ModelAveragePrecision": 0.61,
        "ModelF1": 0.55,
    }


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (entry("QUEUED", "TRAINING"), "RunsStarted"),
        (entry("TRAINING", "TRAINING", TransitionReason.OVERDUE), "StageOverdue"),
        (entry("TRAINING", "TRAINING", TransitionReason.RETRYABLE_FAILURE), "StageRetried"),
        (entry("ROLLING_BACK", "FAILED"), "RestoreFailed"),
        (entry("PREPROCESSING", "TRAINING", objects_accepted=3.0), "ObjectsAccepted"),
        (entry("PREPROCESSING", "REJECTED", objects_quarantined=1.0), "ObjectsQuarantined"),
        (entry("QUEUED", "CANCELLED"), "RunsCancelled"),
    ],
)
def test_each_failure_has_its_metric(line, name):
    """What an alarm or a panel asks for is counted where it happens."""
    assert as_dict(metric_samples(line, RUN))[name]


HOSTILE = (
    "<!channel> <!here> <@U012AB3CD> <#C012AB3CD> <!subteam^S012AB3CD>",
    "<https://evil.example|log in here>",
    "`rm -rf /` ```block```",
    "one\n*fraud-8 deployed*: all is well\r\n> quoted",
    "\x1b]8;;https://evil.example\x07link\x1b[2J",
    "\u202egpj.exe\u2028next",
    "&lt;!channel&gt; &amp;",
)
texts = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(max_codepoint=0x2FFF), max_size=60))


@given(texts, texts, texts, texts, st.sampled_from(["", *(s.value for s in State)]), st.sampled_from(list(State)))
def test_no_message_is_more_than_our_words_and_their_data(reason, version, by, name, source, dest):
    """Mentions, links and code in a message are ours: whatever a reason, a version, a person or an id is."""
    release = replace(CHAMPION, version=version)
    run = replace(
        RUN,
        model=name,
        candidate=version,
        champion=version,
        target=version,
        trigger=Trigger("manual", why=reason, by=by),
    )
    line = entry(source, dest.value, reason=reason, kfp_id=name)
    for each in (run, replace(run, kind=RunKind.RESTORE)):
        text = message(line, each, Model("fraud", champion=release), UI)
        ours = re.sub(r" <https://kfp\.internal/#/runs/details/[\w.~%-]+\|KFP run>$", "", text)
        ours = ours.removeprefix("<!channel> ").replace("`fraudloop approve fraud-7`", "")
        assert not re.search("[<>`\n]", ours), text
        assert not UNSAFE.search(text)
        assert re.sub("&(amp|lt|gt);", "", ours).count("&") == 0
        assert text.startswith("<!channel>") is (source == "ROLLING_BACK" and dest is State.FAILED)


def test_every_metric_has_the_dimensions_of_the_catalogue():
    """A dimension more or less would be another metric to CloudWatch."""
    for source in ["", *(state.value for state in State)]:
        for dest in (state.value for state in State):
            for row in (TransitionReason.OVERDUE, TransitionReason.RETRYABLE_FAILURE, TransitionReason.REPORTED):
                transition = entry(source, dest, row, objects_accepted=1.0, **{"pod_seconds.train": 1.0})
                for metric in metric_samples(transition, RUN, [transition]):
                    assert (*metric.dimensions, "stack") == METRICS[metric.name].labels  # handlers/runtime.py adds it
                    assert METRICS[metric.name].emitter is Emitter.LAMBDA


def test_every_lambda_metric_is_emitted_by_somebody():
    """The catalogue lists no metric that no code emits."""
    from pathlib import Path

    root = Path(__file__).parents[2]
    files = [*root.glob("handlers/*.py"), *root.glob("statemachine/**/*.py")]
    code = "".join(path.read_text() for path in files if path.name != "metrics.py")
    assert [line.name for line in emitted_by(Emitter.LAMBDA) if f'"{line.name}"' not in code] == []
