"""A stage's report says how long its pod ran and what that cost."""

import json

import pytest

from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from training.outcome import StageResult
from training.runtime import telemetry
from training.runtime.pod_usage import pod_usage
from training.runtime.stage import run_stage

GIVEN = json.dumps({"cpu": "3", "memory": "12Gi", "gpus": 1})


def test_without_knowing_its_requests_a_pod_tells_its_seconds_only():
    """No invented price: dollars appear only where the pipeline said what the pod was given."""
    assert pod_usage("train", 60.0, {}) == {"pod_seconds.train": 60.0}


@pytest.mark.parametrize("told", ["no JSON", "{}", '{"cpu": "lots", "memory": "1Gi"}', "[1]"])
def test_a_report_is_not_lost_for_its_price(told, caplog):
    """What the pipeline said wrongly is logged; the seconds stand."""
    assert pod_usage("train", 60.0, {"FRAUDLOOP_REQUESTS": told}) == {"pod_seconds.train": 60.0}
    assert "expected cpu, memory and gpus" in caplog.text


def test_the_report_of_a_stage_carries_seconds_and_dollars(tmp_path, monkeypatch):
    """An hour on a whole g4dn.xlarge is $0.526, in the report and in what is pushed."""
    monkeypatch.setenv("FRAUDLOOP_REQUESTS", GIVEN)
    order = StageRequest("fraud-1", "fraud", Stage.TRAIN, 1, "0123456789ab", str(tmp_path))
    times = iter([1000.0, 4600.0])
    report = run_stage(
        order, lambda _: StageResult(metrics={"rows": 7.0}), clock=lambda: next(times), announce=lambda _: None
    )
    assert report.metrics == {
        "rows": 7.0,
        "pod_seconds.train": 3600.0,
        "cost_dollars.train": pytest.approx(0.526),
    }
    pushed = {name: value for name, _, value in telemetry.finished(report)}
    assert pushed["fraudloop_stage_cost_dollars"] == pytest.approx(0.526)
    assert pushed["fraudloop_rows"] == 7.0
