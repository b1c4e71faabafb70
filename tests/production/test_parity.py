"""Baseline and parity: metrics with provenance, one-sided, on the same data with the same seed, or not at all."""

import json
from dataclasses import replace

import boto3
import pytest

from cli.migration.baseline import read_job
from statemachine.contracts.errors import Malformed, OperationRefused
from statemachine.reporting.parity import Baseline, Measured, compare, markdown, read_baseline
from statemachine.reporting.prices import Prices

DATA = "d" * 64
HELD = Measured({"accuracy": 0.99, "f1": 0.60, "auc_roc": 0.95}, 1000.0, DATA, 1)
FINAL = [("test:accuracy", 0.99), ("test:f1_score", 0.60), ("test:auc", 0.95), ("train:loss", 0.1)]


def ours(seconds=1000.0, **metrics):
    return Measured({**HELD.metrics, **metrics}, seconds, DATA, 1)


@pytest.mark.parametrize(
    ("measured", "go"),
    [
        (ours(), True),
        (ours(accuracy=0.9801), True),
        (ours(accuracy=0.9799), False),
        (ours(f1=0.5801), True),
        (ours(f1=0.5799), False),
        (ours(auc_roc=0.9401), True),
        (ours(auc_roc=0.9399), False),
        (ours(seconds=1199.0), True),
        (ours(seconds=1201.0), False),
        (ours(seconds=10.0, accuracy=1.0, f1=0.99, auc_roc=0.999), True),
    ],
)
def test_only_worse_counts(measured, go):
    """Accuracy 0.01, F1 0.02, AUC 0.01, training time 20 %: better by any amount is no deviation."""
    assert compare(HELD, measured).go is go


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (replace(HELD, data_sha256="e" * 64), "other data"),
        (replace(HELD, data_sha256=""), "other data: ours is unknown"),
        (replace(HELD, seed=2), "another seed"),
        (replace(HELD, metrics={"auc_roc": 0.95}), "ours has no accuracy, f1"),
    ],
)
def test_what_cannot_be_compared_is_refused(other, why):
    """No table is better than a wrong one."""
    with pytest.raises(OperationRefused, match=why):
        compare(HELD, other)


def test_the_page_says_go_or_no_go_with_every_metric():
    """As Markdown."""
    page = markdown(compare(HELD, ours(f1=0.5)), "fraud-7 against x")
    assert "**NO GO**" in page
    assert "| f1 | 0.6000 | 0.5000 | -0.1000 | ≥ 0.5800 | **worse** |" in page


def test_a_baseline_file_is_read_as_it_was_written_and_needs_provenance():
    """A baseline without a training job's ARN is refused."""
    kept = Baseline(HELD, {"arn": "arn:aws:sagemaker:x"}, "ml.g4dn.xlarge")
    assert read_baseline(kept.dumps()) == kept
    with pytest.raises(Malformed, match="no provenance"):
        read_baseline(Baseline(HELD, {"kind": "somebody said so"}).dumps())
    with pytest.raises(Malformed, match="cannot be read"):
        read_baseline("{")


def train(client, name="fraud-2025", **hyperparameters):
    """A training job in moto."""
    return client.create_training_job(
        TrainingJobName=name,
        AlgorithmSpecification={"TrainingImage": "image", "TrainingInputMode": "File"},
        RoleArn="arn:aws:iam::123456789012:role/training",
        OutputDataConfig={"S3OutputPath": "s3://b/o"},
        ResourceConfig={"InstanceType": "ml.g4dn.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 50},
        StoppingCondition={"MaxRuntimeInSeconds": 3600},
        HyperParameters=hyperparameters,
    )["TrainingJobArn"]


class Answers:
    """A SageMaker client with settable metrics of the job: moto gives every job the same ones."""

    def __init__(self, client, status="Completed", metrics=FINAL, minutes=20):
        self.client, self.status, self.metrics, self.minutes = client, status, metrics, minutes

    def describe_training_job(self, **named):
        from datetime import timedelta

        job = self.client.describe_training_job(**named)
        job["TrainingJobStatus"] = self.status
        job["FinalMetricDataList"] = [{"MetricName": name, "Value": value} for name, value in self.metrics]
        job["TrainingEndTime"] = job["TrainingStartTime"] + timedelta(minutes=self.minutes)
        return job

    def list_tags(self, **named):
        return self.client.list_tags(**named)


@pytest.fixture
def client(system):
    return boto3.client("sagemaker")


def test_a_training_job_becomes_a_baseline(client):
    """Metrics, duration, instance, data, seed, price, and who imported it when."""
    arn = train(client, seed="7", data_sha256=DATA)
    made = read_job(Answers(client), arn, Prices())
    assert made.measured == Measured({"accuracy": 0.99, "f1": 0.60, "auc_roc": 0.95}, 1200.0, DATA, 7)
    assert (made.instance_type, made.instance_count, made.image) == ("ml.g4dn.xlarge", 2, "image")
    assert made.cost_dollars == pytest.approx(2 * 0.7364 / 3)
    assert made.source["arn"] == arn
    assert made.source["imported_by"].startswith("arn:aws:")


def test_the_seed_of_our_own_jobs_is_in_their_parameters(client):
    """A job of our SageMaker engine carries the train stage's parameters as JSON."""
    arn = train(client, parameters='{"seed": 5}', data_sha256=DATA)
    assert read_job(Answers(client), arn, Prices()).measured.seed == 5


@pytest.mark.parametrize(
    ("settings", "answers", "why"),
    [
        ({"seed": "1"}, {}, "the data's hash is not recorded"),
        ({"data_sha256": DATA}, {}, "the seed is not recorded"),
        ({"seed": "1", "data_sha256": DATA}, {"status": "Failed"}, "is Failed"),
        ({"seed": "1", "data_sha256": DATA}, {"metrics": FINAL[:2]}, "lack auc_roc"),
    ],
)
def test_what_the_job_does_not_say_is_not_made_up(client, settings, answers, why):
    """A missing value is refused with the option that sets it."""
    arn = train(client, **settings)
    with pytest.raises(OperationRefused, match=why):
        read_job(Answers(client, **answers), arn, Prices())


def test_the_commands(system, ran, fraudloop, tmp_path):
    """A run against a baseline file: table, Markdown and JSON, and the exit status is the answer."""
    path = tmp_path / "baseline.json"
    path.write_text(Baseline(replace(HELD, training_seconds=5000.0), {"arn": "arn:aws:sagemaker:x"}).dumps())
    ran(1, metrics={"accuracy": 0.995, "f1": 0.61, "auc_roc": 0.97})
    good = fraudloop("parity", "fraud-1", "--baseline", str(path), "--out", str(tmp_path / "out"))
    assert good.exit_code == 0, good.output
    assert "GO" in good.output
    assert json.loads((tmp_path / "out/parity.json").read_text())["go"] is True
    assert "**GO**" in (tmp_path / "out/parity.md").read_text()
    ran(2, metrics={"accuracy": 0.995, "f1": 0.5, "auc_roc": 0.97})
    assert fraudloop("parity", "fraud-2", "--baseline", str(path)).exit_code == 1
    ran(3, metrics={"accuracy": 0.995, "f1": 0.61, "auc_roc": 0.97}, parameters={"train": {"seed": 2}})
    other = fraudloop("parity", "fraud-3", "--baseline", str(path))
    assert isinstance(other.exception, OperationRefused)
    assert "another seed" in str(other.exception)


def test_an_import_through_the_command(client, fraudloop, tmp_path):
    """moto's jobs have no accuracy, so the command names the missing metric and writes nothing."""
    arn = train(client, seed="1", data_sha256=DATA)
    result = fraudloop("baseline", "import", "--training-job", arn, "--out", str(tmp_path / "b.json"))
    assert "lack accuracy, auc_roc, f1" in str(result.exception)
    assert not (tmp_path / "b.json").exists()
