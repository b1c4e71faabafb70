"""A stage's report has its pod's seconds and resource requests."""

import json

import pytest

from statemachine.contracts.pod_requests import PodRequests
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from training.outcome import StageResult
from training.runtime.pod_usage import pod_usage
from training.runtime.stage import run_stage

GIVEN = json.dumps({"cpu": "3", "memory": "12Gi", "gpus": 1})


def test_without_knowing_its_requests_a_pod_reports_its_seconds_only():
    """No invented price: the requests appear only where the pipeline set them."""
    assert pod_usage("train", 60.0, {}) == {"pod_seconds.train": 60.0}


@pytest.mark.parametrize("given", ["no JSON", "{}", '{"cpu": "lots", "memory": "1Gi"}', "[1]"])
def test_a_report_is_not_lost_for_its_bill(given, caplog):
    """Requests that cannot be read are logged; the seconds stand."""
    assert pod_usage("train", 60.0, {"FRAUDLOOP_REQUESTS": given}) == {"pod_seconds.train": 60.0}
    assert "expected cpu, memory and gpus" in caplog.text


def test_the_report_of_a_stage_carries_seconds_and_requests(tmp_path, monkeypatch):
    """What the controller needs to price an attempt is in its report; no price is, so prices can change later."""
    monkeypatch.setenv("FRAUDLOOP_REQUESTS", GIVEN)
    order = StageRequest("fraud-1", "fraud", Stage.TRAIN, 1, "0123456789ab", str(tmp_path))
    times = iter([1000.0, 4600.0])
    report = run_stage(
        order, lambda _: StageResult(metrics={"rows": 7.0}), clock=lambda: next(times), announce=lambda _: None
    )
    assert report.metrics == {
        "rows": 7.0,
        "pod_seconds.train": 3600.0,
        "pod_cpus.train": 3.0,
        "pod_memory_gib.train": 12.0,
        "pod_gpus.train": 1.0,
    }
    assert PodRequests.of("train", report.metrics) == PodRequests(3, 12, 1)
