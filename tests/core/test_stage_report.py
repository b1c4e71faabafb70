"""`report.json` from outside: a valid one is the truth, anything else is Malformed and never a crash."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulation.memory.strategies import JSON, reports
from statemachine.contracts.errors import Malformed
from statemachine.contracts.report import MAX_BYTES, MAX_NAMES, MAX_TEXT, Artifact, Outcome, Report, parse
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
    """It is kept in the run's item and told to people."""
    report = read(changed(reason="\ud800" + "x" * 5000))
    assert len(report.reason) == MAX_TEXT
    report.reason.encode()
