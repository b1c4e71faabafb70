"""The nightly function: once per slot, with all objects in the bucket."""

from dataclasses import replace

import boto3
import pytest

from statemachine.contracts.errors import Malformed, Unreachable
from statemachine.core.model import Model
from statemachine.ports import Clause
from statemachine.store import put_model

TWO_MODELS = "\n".join(f'[models.{name}]\nprefix = "data/{name}/"' for name in ("early", "fraud"))


@pytest.fixture
def landed(invoke):
    """A file whose event never came."""
    s3 = boto3.client("s3")
    s3.put_object(Bucket="fraudloop-data", Key="data/fraud/silent.csv", Body=b"x")
    yield
    s3.delete_object(Bucket="fraudloop-data", Key="data/fraud/silent.csv")


@pytest.mark.parametrize("event", ["nightly_scheduler", "nightly_rule"])
def test_the_night_takes_in_what_was_never_announced(invoke, landed, event):
    """The listing finds it, and the run begins."""
    came = {"slot": "2026-11-24T02:00:00Z", "began": {"fraud": "fraud-1"}, "unfinished": []}
    assert invoke("nightly", event) == came
    (obj,) = invoke.app().intake.objects("fraud")
    assert (obj.key, obj.epoch) == ("data/fraud/silent.csv", 1)


def test_the_same_night_twice_is_one_run(invoke, landed):
    """EventBridge may fire twice."""
    invoke("nightly", "nightly_scheduler")
    assert invoke("nightly", "nightly_scheduler")["began"] == {"fraud": ""}
    assert [run.id for run in invoke.app().store.runs("fraud")] == ["fraud-1"]


def test_a_night_without_any_data_is_skipped_and_said(invoke):
    """No run, and the reason on record."""
    assert invoke("nightly", "nightly_scheduler")["began"] == {"fraud": ""}
    (skipped,) = invoke.app().intake.skipped("fraud")
    assert (skipped["slot"], skipped["why"]) == ("2026-11-24T02:00:00Z", "nothing new in data, code and parameters")


def test_a_night_without_a_time_is_malformed(invoke):
    """It could not be counted once."""
    with pytest.raises(Exception, match="slot"):
        invoke("nightly", {})


@pytest.mark.parametrize("event", [{"slot": "test"}, {"time": "2099-11-27T02:00:00Z"}])
def test_a_night_that_is_no_time_or_lies_ahead_moves_no_marker(invoke, landed, event):
    """It is rejected, so Lambda sends it to the dead-letter queue; the real slot counts all the same."""
    with pytest.raises(Malformed, match="a nightly slot"):
        invoke("nightly", event)
    assert invoke.app().intake.window("fraud").last_slot == ""
    assert invoke("nightly", "nightly_scheduler")["began"] == {"fraud": "fraud-1"}


def test_a_night_outside_of_the_schedule_names_models_and_says_why(invoke, landed):
    """`fraudloop drift --ask` sends it: the same path, the same slots; the reason is on the run's record."""
    event = {"slot": "2026-11-24T12:00:00Z", "models": ["fraud"], "why": "the live scores drifted: score_psi 0.4"}
    assert invoke("nightly", event)["began"] == {"fraud": "fraud-1"}
    run = invoke.app().store.run("fraud-1")
    assert (run.trigger.kind, run.trigger.why) == ("nightly", "the live scores drifted: score_psi 0.4")
    assert invoke("nightly", event)["began"] == {"fraud": ""}, "the same slot counts once"


@pytest.mark.parametrize("models", ["fraud", ["fraud", "other"], None])
def test_a_night_for_a_model_that_is_not_ours_is_malformed(invoke, landed, models):
    """Nothing begins, and the event ends in the dead-letter queue."""
    with pytest.raises(Malformed, match="names fraud"):
        invoke("nightly", {"slot": "2026-11-24T12:00:00Z", "models": models})
    assert list(invoke.app().store.runs("fraud")) == []


class Unlisted:
    """Files of which one prefix cannot be listed."""

    def __init__(self, files, prefix):
        self.files, self.prefix = files, prefix

    def list(self, bucket, prefix, after=""):
        if prefix == self.prefix:
            raise Unreachable(f"S3 does not list {prefix}")
        return self.files.list(bucket, prefix, after)


@pytest.fixture
def two_models(invoke, monkeypatch, tmp_path):
    """Another model, whose turn comes before the one that has data."""
    registry = tmp_path / "fraudloop.toml"
    registry.write_text(TWO_MODELS)
    monkeypatch.setenv("FRAUDLOOP_CONFIG", str(registry))


def test_a_model_whose_record_cannot_be_read_spoils_nobody_elses_night(invoke, two_models, landed):
    """A malformed model item is logged, counted and not retried, and the next model's run starts."""
    put = put_model(Model("early", 1), "poison")
    invoke.app().store.table.write(replace(put, item={**put.item, "format": 99}, clause=Clause("it is new")))
    assert invoke("nightly", "nightly_scheduler")["began"] == {"fraud": "fraud-1"}


def test_an_outage_of_one_model_is_tried_again_after_the_others(invoke, two_models, landed):
    """Lambda repeats an event that raised; a model already processed for the slot is skipped."""
    files = invoke.app().files
    invoke.app().__dict__["files"] = Unlisted(files, "data/early/")
    with pytest.raises(Unreachable, match="data/early/"):
        invoke("nightly", "nightly_scheduler")
    assert [run.id for run in invoke.app().store.runs("fraud")] == ["fraud-1"]
    invoke.app().__dict__["files"] = files
    assert invoke("nightly", "nightly_scheduler")["began"] == {"early": "", "fraud": ""}
    assert [run.id for run in invoke.app().store.runs("fraud")] == ["fraud-1"]


class Hurried:
    """A Lambda context with no time left."""

    function_name, memory_limit_in_mb, aws_request_id = "fraudloop-test", 512, "r"
    invoked_function_arn = "arn:aws:lambda:eu-central-1:123456789012:function:fraudloop-test"

    def get_remaining_time_in_millis(self):
        return 1000


def test_a_night_without_time_asks_for_another_invocation_and_claims_no_slot(invoke, landed, monkeypatch):
    """The next one goes on with the same event; only the end of the listing asks the window to close."""
    from handlers import nightly

    asked = []
    monkeypatch.setattr(type(invoke.app()), "again", lambda app, function, event: asked.append((function, event)))
    event = {"time": "2026-11-24T02:00:00Z"}
    assert nightly.handler(event, Hurried()) == {
        "slot": "2026-11-24T02:00:00Z",
        "began": {"fraud": ""},
        "unfinished": ["fraud"],
    }
    assert asked == [(Hurried.invoked_function_arn, event)]
    assert invoke.app().intake.window("fraud").last_slot == ""
    assert invoke("nightly", asked[0][1])["began"] == {"fraud": "fraud-1"}
    assert len(asked) == 1


def test_going_on_is_asked_of_lambda(invoke, monkeypatch):
    """Asynchronously, with the event as it came."""
    from types import SimpleNamespace

    calls = []
    client = SimpleNamespace(invoke=lambda **call: calls.append(call))
    monkeypatch.setattr(type(invoke.app()), "client", lambda app, service: client)
    invoke.app().again("me", {"time": "t"})
    assert calls == [{"FunctionName": "me", "InvocationType": "Event", "Payload": b'{"time": "t"}'}]
