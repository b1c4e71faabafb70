"""What a stage pushes, and that the push never stands in its way."""

from statemachine.contracts.metrics import METRICS, Emitter
from statemachine.contracts.report import Outcome, Report
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from training.runtime import telemetry

ORDER = StageRequest("fraud-7", "fraud", Stage.EVALUATE, 2, "0123456789ab", "/out")
EVALUATION = {
    "metrics": {"auc_roc": 0.97, "average_precision": 0.6, "f1": 0.5, "recall_at_fpr_0.001": 0.4},
    "champion": {"version": "fraud-3-aabbccdd", "metrics": {"auc_roc": 0.96}},
    "anchor": None,
    "baselines": {"xgboost-row": {"auc_roc": 0.91}},
    "drift": {"amount": 0.1},
}


def report(outcome=Outcome.OK, **details):
    return Report(
        "fraud-7", "evaluate", 2, "0123456789ab", outcome, details=details, started_at=100.0, finished_at=160.0
    )


def as_dict(samples):
    return {(name, *labels.values()): float(value) for name, labels, value in samples}


def test_evaluation_metrics_cover_all_models_on_the_same_rows():
    """Candidate, champion and baselines. Metrics outside the catalogue are left out."""
    samples = as_dict(telemetry.finished(report(evaluation=EVALUATION)))
    assert samples["fraudloop_model_auc_roc", "candidate"] == 0.97
    assert samples["fraudloop_model_auc_roc", "champion"] == 0.96
    assert samples["fraudloop_model_auc_roc", "xgboost-row"] == 0.91
    assert samples["fraudloop_feature_drift_psi", "amount"] == 0.1
    assert samples["fraudloop_stage_duration_seconds",] == 60.0
    assert {key[0] for key in samples} <= {name for name, line in METRICS.items() if line.emitter is Emitter.STAGE}


def test_only_a_success_moves_the_time_of_the_last_success():
    """A failure leaves the last success standing, so that 'stale since' is right."""
    ok, failed = (as_dict(telemetry.finished(report(outcome))) for outcome in (Outcome.OK, Outcome.FAILED))
    assert ("fraudloop_stage_succeeded_timestamp_seconds",) in ok
    assert ("fraudloop_stage_succeeded_timestamp_seconds",) not in failed
    assert (ok["fraudloop_stage_outcome", "failed"], failed["fraudloop_stage_outcome", "failed"]) == (0, 1)


def test_a_beginning_ends_the_alert_on_the_last_attempt():
    """While a new attempt runs no outcome is 1."""
    assert {v for k, v in as_dict(telemetry.started(ORDER, 5.0)).items() if k[0] == "fraudloop_stage_outcome"} == {0}


def test_a_group_is_a_model_and_a_stage_and_never_a_run():
    """Groups never expire: one a run would grow without end."""
    calls = []
    environment = {"FRAUDLOOP_PUSHGATEWAY": "http://gateway:9091"}
    telemetry.push(ORDER, telemetry.started(ORDER, 5.0), environment, send=lambda *a, **k: calls.append((a, k)))
    [((gateway,), stored)] = calls
    assert gateway == "http://gateway:9091"
    assert stored["grouping_key"] == {"model": "fraud", "stage": "evaluate"}


def test_without_a_gateway_nothing_is_pushed():
    """No setting, no call."""

    def send(*_, **__):
        raise AssertionError("it was pushed")

    telemetry.push(ORDER, telemetry.started(ORDER, 5.0), {}, send=send)


def test_a_gateway_that_is_away_is_logged_and_forgotten(caplog):
    """Metrics never fail a stage."""
    telemetry.push_finished(ORDER, report(), {"FRAUDLOOP_PUSHGATEWAY": "http://127.0.0.1:9"})
    assert "cannot push to the Pushgateway" in caplog.text
