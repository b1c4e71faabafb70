"""The night: once a slot, with whatever lies in the bucket."""

import boto3
import pytest


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
    assert invoke("nightly", event) == {"slot": "2026-11-24T02:00:00Z", "began": {"fraud": "fraud-1"}}
    (thing,) = invoke.app().intake.objects("fraud")
    assert (thing.key, thing.epoch) == ("data/fraud/silent.csv", 1)


def test_the_same_night_twice_is_one_run(invoke, landed):
    """EventBridge may fire twice."""
    invoke("nightly", "nightly_scheduler")
    assert invoke("nightly", "nightly_scheduler")["began"] == {"fraud": ""}
    assert [run.id for run in invoke.app().ledger.runs("fraud")] == ["fraud-1"]


def test_a_night_without_any_data_is_skipped_and_said(invoke):
    """No run, and the reason on record."""
    assert invoke("nightly", "nightly_scheduler")["began"] == {"fraud": ""}
    (skipped,) = invoke.app().intake.skipped("fraud")
    assert (skipped["slot"], skipped["why"]) == ("2026-11-24T02:00:00Z", "nothing new in data, code and parameters")


def test_a_night_without_a_time_is_malformed(invoke):
    """It could not be counted once."""
    with pytest.raises(Exception, match="slot"):
        invoke("nightly", {})
