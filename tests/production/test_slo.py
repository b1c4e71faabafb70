"""Are we there? Each objective by hand, its trend, and what is pushed for the dashboard."""

import json

import pytest

from cli.commands.slo import samples
from statemachine.contracts.metrics import METRICS, Emitter
from statemachine.core.reason import TransitionReason
from statemachine.core.run import Run, Transition
from statemachine.reporting.parity import Baseline, Measured
from statemachine.reporting.slo import Objective, RunRecord, Targets, objectives, quantile, success_rate

DAY = 86_400.0


def record(state, days_ago, dollars=1.0, deploy=300.0, **metrics):
    from statemachine.core.states import State

    at = 100 * DAY - days_ago * DAY
    history = (
        Transition("r", 1, at - deploy, "EXPORTING", "DEPLOYING", TransitionReason.EXPORTED),
        Transition("r", 2, at, "DEPLOYING", state, TransitionReason.REPORTED),
    )
    return RunRecord(Run("r", "fraud", 1, State[state], metrics=metrics), history, dollars)


def found(records, **targets):
    return {each.name: each for each in objectives(records, 100 * DAY, 10 * DAY, Targets(**targets))}


def test_a_refusal_is_a_success_and_a_cancelled_run_counts_for_nobody():
    """A rejection is a result of the pipeline. A run that an operator cancelled does not count."""
    states = ["SUCCEEDED", "REJECTED", "FAILED", "ROLLED_BACK", "CANCELLED"]
    assert success_rate([record(state, 1) for state in states]) == 0.5
    assert success_rate([record("CANCELLED", 1)]) is None


def test_each_objective_by_hand():
    """Three runs in the window, one before."""
    records = [
        record("SUCCEEDED", 1, 1.0, 300, auc_roc=0.97, **{"pod_seconds.train": 100.0}),
        record("SUCCEEDED", 2, 2.0, 500, auc_roc=0.95, **{"pod_seconds.train": 300.0}),
        record("FAILED", 3, 3.0, 900),
        record("SUCCEEDED", 15, 4.0, 700, auc_roc=0.99, **{"pod_seconds.train": 50.0}),
    ]
    found_values = found(records, training_seconds=250.0, run_dollars=1.5)
    assert {name: each.value for name, each in found_values.items()} == {
        "success_rate": pytest.approx(2 / 3),
        "training_time": 200.0,
        "auc_roc": 0.95,
        "deployment_time": 500.0,
        "cost_per_run": 2.0,
    }
    assert {name: each.met for name, each in found_values.items()} == {
        "success_rate": False,
        "training_time": True,
        "auc_roc": True,
        "deployment_time": True,
        "cost_per_run": False,
    }
    assert {name: each.trend for name, each in found_values.items()} == {
        "success_rate": "worse",
        "training_time": "worse",
        "auc_roc": "worse",
        "deployment_time": "better",
        "cost_per_run": "better",
    }


def test_what_was_not_measured_is_unknown_and_not_met():
    """No runs, no baseline: neither met nor missed."""
    assert {each.met for each in found([]).values()} == {None}
    assert found([record("SUCCEEDED", 1)])["training_time"].met is None


def test_an_objective_that_is_just_reached():
    """Above 95 % and above 0.90; at most the baseline's time and ten minutes."""
    assert Objective("auc_roc", 0.90, 0.90, False, "").met is False
    assert Objective("deployment_time", 600.0, 600.0, True, "s").met is True


@pytest.mark.parametrize(("values", "expected"), [([], None), ([5.0], 5.0), (list(range(1, 101)), 95), ([1, 2, 3], 3)])
def test_the_95th_percentile(values, expected):
    """The smallest value that 95 % do not exceed."""
    assert quantile(values, 0.95) == expected


def test_an_unknown_objective_is_not_pushed_as_zero():
    """A missing series is seen as missing; names and labels are the catalogue's."""
    found_values = list(samples(objectives([], 0.0, 1.0, Targets()), []))
    assert {(name, label) for name, label, _ in found_values} == {
        ("fraudloop_slo_target", "success_rate"),
        ("fraudloop_slo_target", "auc_roc"),
        ("fraudloop_slo_target", "deployment_time"),
    }
    assert all(METRICS[name].emitter is Emitter.CLI for name, _, _ in found_values)


def test_the_commands(ran, fraudloop, tmp_path):
    """`slo` over the table's history, `cost` line by line; status 1 where an objective is missed."""
    ran(1, metrics={"auc_roc": 0.97}, ended=3600)
    ran(2, metrics={"auc_roc": 0.96}, ended=60)
    path = tmp_path / "baseline.json"
    path.write_text(Baseline(Measured({}, 6000.0, "d", 1), {"arn": "arn:x"}, cost_dollars=100.0).dumps())
    good = fraudloop("slo", "--baseline", str(path), "--json")
    assert good.exit_code == 0, good.output
    found_values = {each["name"]: each for each in json.loads(good.output)}
    assert found_values["training_time"]["value"] == 5400.0
    assert found_values["deployment_time"]["value"] == pytest.approx(240.0)
    assert found_values["cost_per_run"]["met"] is True
    path.write_text(Baseline(Measured({}, 5000.0, "d", 1), {"arn": "arn:x"}, cost_dollars=0.5).dumps())
    assert fraudloop("slo", "--baseline", str(path)).exit_code == 1


def test_the_bill_of_a_run(ran, fraudloop):
    """Ninety minutes on a whole GPU node are most of it, beside SageMaker's cost."""
    ran(1)
    found_values = json.loads(fraudloop("cost", "fraud-1", "--json").output)["fraud-1"]
    lines = {line["item"]: line["dollars"] for line in found_values["lines"]}
    assert lines["train"] == pytest.approx(1.5 * 0.526)
    assert lines["train"] > 0.6 * found_values["marginal"]
    assert found_values["loaded"] > found_values["marginal"]
    assert found_values["sagemaker"] == pytest.approx(1.5 * 0.7364 + (600 + 600 + 180 + 240) / 3600 * 0.23)
    page = fraudloop("cost", "fraud-1").output
    assert "the same stages on SageMaker $1.20" in page
    assert "fraud-1" in fraudloop("cost").output


def test_a_run_on_sagemaker_is_billed_as_such(ran, fraudloop):
    """Its train stage pays for the instance."""
    ran(1, kfp_id="arn:aws:sagemaker:eu-central-1:1:training-job/x")
    found_values = json.loads(fraudloop("cost", "fraud-1", "--json").output)["fraud-1"]
    assert {line["item"]: line["dollars"] for line in found_values["lines"]}["train (ml.g4dn.xlarge)"] == pytest.approx(
        1.1046
    )


def test_it_can_tell_a_pushgateway(ran, fraudloop):
    """One group a model, with the catalogue's names; a gateway that is away fails only the scheduled job."""
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Gateway(BaseHTTPRequestHandler):
        pushed = []  # noqa: RUF012

        def do_PUT(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self.pushed.append((self.path, body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    ran(1, metrics={"auc_roc": 0.97})
    server = HTTPServer(("127.0.0.1", 0), Gateway)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    found_values = fraudloop("slo", "--push", f"http://127.0.0.1:{server.server_port}", "--json")
    server.shutdown()
    server.server_close()
    away = fraudloop("slo", "--push", f"http://127.0.0.1:{server.server_port}", "--json")
    job = fraudloop("slo", "--push", f"http://127.0.0.1:{server.server_port}", "--scheduled")
    [(path, body)] = Gateway.pushed
    assert found_values.exit_code == away.exit_code == 0
    assert job.exit_code == 1, "a job that pushed nothing must not look well"
    assert path == "/metrics/job/fraudloop-slo/model/fraud"
    assert 'fraudloop_slo_value{objective="auc_roc"} 0.97' in body
    assert 'fraudloop_run_cost_dollars{basis="marginal"}' in body
