"""`report.json` from outside: a valid one is the truth, anything else is Malformed and never a crash."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulation.memory.strategies import JSON, reports
from statemachine.contracts.errors import Malformed
from statemachine.contracts.limits import METRIC_BYTES, OUTPUT_BYTES, check_write, clipped, item_bytes
from statemachine.contracts.report import (
    MAX_BYTES,
    MAX_NAMES,
    MAX_TEXT,
    Artifact,
    Outcome,
    Report,
    parse,
    stay_within,
)
from statemachine.contracts.stage import Stage

GOOD = Report("fraud-7", "train", 1, "L1", Outcome.OK, outputs={"model": Artifact("s3://a/m", "00")}, metrics={"x": 1})
WHO = {"run_id": "fraud-7", "stage": "train", "attempt": 1, "launch_id": "L1"}


def read(body: bytes) -> Report:
    return parse(body, **WHO)  # type: ignore[arg-type]


def changed(**fields: Any) -> bytes:
    return json.dumps({**json.loads(GOOD.dumps()), **fields}).encode()


def test_a_good_report_is_read_as_it_was_written() -> None:
    """Outputs with their hashes, metrics, details."""
    assert read(GOOD.dumps()) == GOOD


@given(reports(Stage.TRAIN))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_report_survives_the_file(report: Report) -> None:
    """What a stage writes is what the controller reads."""
    assert read(report.dumps()) == report


LIES = {
    "empty": b"",
    "not JSON": b"<html>502</html>",
    "not UTF-8": b"\xff\xfe{",
    "cut off": GOOD.dumps()[:-20],
    "a list": b"[]",
    "a string": b'"ok"',
    "too deep": b"[" * 100_000,
    "no format": changed(format=None),
    "a newer format": changed(format=2),
    "an unknown outcome": changed(outcome="great"),
    "no outcome": changed(outcome=None),
    "outputs as a list": changed(outputs=["s3://x"]),
    "an output without URI": changed(outputs={"model": {}}),
    "a metric that is text": changed(metrics={"auc_roc": "high"}),
    "a metric that is not a number": changed(metrics={"auc_roc": float("nan")}),
    "an infinite metric": GOOD.dumps().replace(b'"x": 1', b'"x": 1e999'),
    "details as text": changed(details="none"),
    "another run's": changed(run_id="fraud-6"),
    "another stage's": changed(stage="export"),
    "another attempt's": changed(attempt=2),
    "another launch's": changed(launch_id="L2"),
    "an attempt beyond numbers": GOOD.dumps().replace(b'"attempt": 1', b'"attempt": 1e999'),
    "too many metrics": changed(metrics={f"m{n}": 0 for n in range(MAX_NAMES + 1)}),
    "too many outputs": changed(outputs={f"o{n}": {"uri": "s3://x"} for n in range(MAX_NAMES + 1)}),
    "a URI without end": changed(outputs={"model": {"uri": "s" * (MAX_TEXT + 1)}}),
    "outputs that no record holds": changed(outputs={f"o{n}": {"uri": "ü" * 1900} for n in range(20)}),
    "metrics that no record holds": changed(metrics={f"{n}{'ü' * 900}": 0.5 for n in range(20)}),
    "too large": changed(reason="x" * MAX_BYTES),
}


@pytest.mark.parametrize("body", LIES.values(), ids=LIES)
def test_a_report_that_lies_is_malformed(body: bytes) -> None:
    """A clear error, so that the run is decided on and nobody waits behind it."""
    with pytest.raises(Malformed, match=r"report\.json"):
        read(body)


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_any_bytes_are_a_report_or_malformed(body: bytes) -> None:
    """Nothing else is ever raised."""
    with pytest.raises(Malformed):
        read(body)


def test_a_long_reason_is_cut_and_can_be_encoded() -> None:
    """It is stored in the run's item and sent to people."""
    report = read(changed(reason="\ud800" + "x" * 5000))
    assert len(report.reason) == MAX_TEXT
    report.reason.encode()


PLACES = ("s3://a/runs/fraud-7/train/1/L1/", "s3://a/models/fraud/")


@pytest.mark.parametrize(
    "uri", ["s3://a/runs/fraud-7/train/1/L1/model", "s3://a/models/fraud/v1/", "s3://a/models/fraud/v/x.json"]
)
def test_an_output_below_its_places_may_be_named(uri: str) -> None:
    """A file or a folder of the launch's own, or of what it may share."""
    stay_within(Report("fraud-7", "train", 1, "L1", Outcome.OK, outputs={"model": Artifact(uri)}), PLACES)


@pytest.mark.parametrize(
    "uri",
    [
        *("s3://a/runs/fraud-7/train/1/L1", "s3://a/runs/fraud-7/train/1/L1/", "s3://a/runs/fraud-7/train/1/L10/x"),
        *(
            "s3://b/models/fraud/v1",
            "s3://a/models/fraud/../other/v1",
            "s3://a/models/fraud//v1",
            "s3://a/models/fraud/./v",
        ),
        *("", "/etc/passwd", "s3://a/models/fraud/v1\n", "S3://a/models/fraud/v1"),
    ],
)
def test_an_output_anywhere_else_is_a_misreport(uri: str) -> None:
    """The message names it and where it may lie."""
    with pytest.raises(Malformed, match="outside of what this launch may name"):
        stay_within(Report("fraud-7", "train", 1, "L1", Outcome.OK, outputs={"model": Artifact(uri)}), PLACES)


def test_what_a_record_holds_is_counted_as_dynamodb_does() -> None:
    """ "DynamoDB item sizes and formats": names and text in UTF-8; a number a byte for two digits, and one."""
    assert item_bytes({"ab": "ü€"}) == 2 + 5
    assert [item_bytes({"a": n}) for n in (0, 7, 1200, 123, -5, 0.25)] == [2, 3, 3, 4, 4, 3]
    check_write([("x", {"a": "b"})])
    assert OUTPUT_BYTES * 6 + METRIC_BYTES * 12 < 300 * 1024


def test_a_clipped_text_says_so_and_encodes() -> None:
    """An ellipsis in place of the rest; a lone surrogate becomes a question mark."""
    assert clipped("abcdef", 4) == "abc…"
    assert clipped("ab\ud800") == "ab?"
