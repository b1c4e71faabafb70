"""The train stage on SageMaker: the same port, one job an attempt, the same stage inside of the container."""

import json
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws

from simulation.memory.kfp import MemoryPipelines
from statemachine.adapters.sagemaker import Engines, Jobs, SageMakerTraining, hyperparameters, job_name
from statemachine.bootstrap import App
from statemachine.contracts.errors import Impossible, Misconfigured, Unreachable
from statemachine.contracts.kfp_run import KfpRunState, PinnedVersion
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from statemachine.core.policy import Policy
from statemachine.settings import Settings
from training.outcome import Permanent, StageResult
from training.runtime import sagemaker_job

JOBS = Jobs(
    "arn:aws:iam::123456789012:role/training",
    "123.dkr.ecr/fraud@sha256:abc",
    subnets=("subnet-1",),
    security_groups=("sg-1",),
)
PIN = PinnedVersion("p", "v", "n")


def an_order(
    stage=Stage.TRAIN, model="fraud", attempt=1, launch="0123456789ab", uri="s3://artifacts/runs/fraud-7/train/1/0123"
):
    return StageRequest("fraud-7", model, stage, attempt, launch, uri, {"dataset": "s3://a/d"}, {"seed": 1})


@pytest.fixture
def client(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield boto3.client("sagemaker", "us-east-1")


@pytest.fixture
def engine(client):
    return SageMakerTraining(client, JOBS)


# -- the port -------------------------------------------------------------------------------------------------------


def test_a_job_is_found_by_its_name_and_by_its_id(engine):
    """What was created is listed under the order's name, and read by the id that create gave."""
    made = engine.create(an_order(), PIN)
    assert (made.name, made.launch_id) == ("fraud-7.train.1", "0123456789ab")
    [listed] = engine.list("fraud-7.train.1")
    assert (listed.kfp_id, listed.launch_id) == (made.kfp_id, made.launch_id)
    assert engine.get(made.kfp_id).state is KfpRunState.SUCCEEDED  # moto's jobs end at once


def test_another_run_with_a_longer_name_is_not_ours(engine):
    """`fraud-7.` is no prefix of `fraud-70.…`, although SageMaker's names only contain each other."""
    engine.create(StageRequest("fraud-70", "fraud", Stage.TRAIN, 1, "a", "s3://a/x"), PIN)
    assert engine.list("fraud-7.") == ()
    assert len(engine.list("fraud-70.")) == 1


def test_the_job_is_the_stage_s_image_with_the_order_in_it(engine, client):
    """Image, role, network and entry point. The parsed order equals the sent one."""
    engine.create(an_order(), PIN)
    [summary] = client.list_training_jobs()["TrainingJobSummaries"]
    job = client.describe_training_job(TrainingJobName=summary["TrainingJobName"])
    assert job["AlgorithmSpecification"]["TrainingImage"] == JOBS.image
    assert job["AlgorithmSpecification"]["ContainerEntrypoint"] == ["python", "-m", "training.runtime.sagemaker_job"]
    assert job["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    arguments = sagemaker_job.arguments(job["HyperParameters"])
    assert arguments == an_order().arguments() | {"stage": "train"}


def test_a_job_that_is_gone_is_none(engine):
    """SageMaker answers ValidationException instead of 404."""
    assert engine.get("arn:aws:sagemaker:us-east-1:123456789012:training-job/nope") is None


def test_names_fit_and_stay_apart():
    """At most 63 characters; two launches never share a name, and neither do two deployments in one account."""
    long = StageRequest(f"{'m' * 31}-{10**9}", "m" * 31, Stage.TRAIN, 12, "0000000b-00000000000b", "s3://a/x")
    assert len(job_name(long)) <= 63
    ours, theirs = (an_order(launch=f"{deployment}-00000000000b") for deployment in ("0000000b", "0000000c"))
    assert job_name(ours) != job_name(theirs)


def test_an_order_that_sagemaker_cannot_take_is_refused_with_its_name():
    """Hyper-parameter values are short."""
    huge = StageRequest("fraud-7", "fraud", Stage.TRAIN, 1, "a", "s3://a/x", parameters={"x": "y" * 3000})
    with pytest.raises(Misconfigured, match="parameters has 30"):
        hyperparameters(huge)


def job(status="InProgress", **more):
    arguments = hyperparameters(an_order(launch="firstfirst00"))
    arn = "arn:aws:sagemaker:us-east-1:123456789012:training-job/x"
    required: dict[str, Any] = {
        "ModelArtifacts": {"S3ModelArtifacts": ""},
        "AlgorithmSpecification": {"TrainingInputMode": "File"},
    }
    required |= {"ResourceConfig": {"VolumeSizeInGB": 1}, "StoppingCondition": {}, "SecondaryStatus": "Training"}
    return {
        "TrainingJobName": "x",
        "TrainingJobArn": arn,
        "TrainingJobStatus": status,
        "HyperParameters": arguments,
        "CreationTime": datetime(2026, 1, 1, tzinfo=UTC),
        **required,
        **more,
    }


@pytest.fixture
def scripted():
    """A SageMaker whose answers are given one by one."""
    client = boto3.client("sagemaker", "us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(client) as stub:
        yield stub, SageMakerTraining(client, JOBS)


def test_a_create_that_is_repeated_finds_its_own_job(scripted):
    """The first answer was lost and botocore retried: the job's name belongs to this launch."""
    stub, engine = scripted
    stub.add_client_error("create_training_job", "ResourceInUse", http_status_code=400)
    stub.add_response("describe_training_job", job())
    launch = engine.create(an_order(launch="firstfirst00"), PIN)
    assert (launch.launch_id, launch.state) == ("firstfirst00", KfpRunState.RUNNING)


@pytest.mark.parametrize(
    ("code", "ours"),
    [
        ("ValidationException", Impossible),
        ("AccessDeniedException", Misconfigured),
        ("ThrottlingException", Unreachable),
    ],
)
def test_a_job_that_sagemaker_refuses_is_told_from_one_that_it_may_have_taken(scripted, code, ours):
    """Invalid requests are permanent, denied ones can be fixed, and other errors leave the outcome unknown."""
    stub, engine = scripted
    stub.add_client_error("create_training_job", code, http_status_code=400)
    with pytest.raises(ours, match=code):
        engine.create(an_order(), PIN)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("InProgress", KfpRunState.RUNNING),
        ("Completed", KfpRunState.SUCCEEDED),
        ("Failed", KfpRunState.FAILED),
        ("Stopping", KfpRunState.CANCELING),
        ("Stopped", KfpRunState.CANCELED),
        ("Deleting", KfpRunState.UNKNOWN),
    ],
)
def test_sagemaker_s_states_are_ours(scripted, status, state):
    """A stopping job is still active. An unknown state is not interpreted."""
    stub, engine = scripted
    stub.add_response("describe_training_job", job(status, FailureReason="OOM"))
    launch = engine.get("arn:aws:sagemaker:us-east-1:123456789012:training-job/x")
    assert (launch.state, launch.error) == (state, "OOM")


def test_a_failure_to_look_says_nothing_about_the_job(scripted):
    """A throttled request does not mean that the job is absent."""
    stub, engine = scripted
    for operation in ("describe_training_job", "create_training_job", "list_training_jobs", "stop_training_job"):
        stub.add_client_error(operation, "ThrottlingException", http_status_code=400)
    with pytest.raises(Unreachable, match="Describe"):
        engine.get("arn:x/x")
    with pytest.raises(Unreachable, match="Create"):
        engine.create(an_order(), PIN)
    with pytest.raises(Unreachable, match="List"):
        engine.list("fraud-7.")
    with pytest.raises(Unreachable, match="Stop"):
        engine.stop("arn:x/x")


def test_stopping_what_is_over_is_no_error(scripted):
    """The job has ended, which is the goal."""
    stub, engine = scripted
    stub.add_client_error("stop_training_job", "ValidationException", http_status_code=400)
    engine.stop("arn:x/x")
    stub.assert_no_pending_responses()


# -- both engines ---------------------------------------------------------------------------------------------------


def test_only_the_train_stage_of_a_model_kept_there_runs_on_sagemaker(engine):
    """Everything else stays on KFP; ids lead back to their engine."""
    kfp = MemoryPipelines(lambda: 0.0)
    both = Engines(kfp, engine, frozenset({"fraud"}))
    here = both.create(an_order(), PIN)
    there = both.create(an_order(Stage.EVALUATE), PIN)
    other = both.create(an_order(model="other", attempt=2), PIN)
    assert [launch.kfp_id.startswith("arn:") for launch in (here, there, other)] == [True, False, False]
    assert {launch.kfp_id for launch in both.list("fraud-7.")} == {here.kfp_id, there.kfp_id, other.kfp_id}
    found = [both.get(launch.kfp_id) for launch in (here, there)]
    assert [launch and launch.name for launch in found] == ["fraud-7.train.1", "fraud-7.evaluate.1"]


def test_the_registry_chooses_the_engine(client):
    """`engine = "sagemaker"` in fraudloop.toml, and the jobs' settings in FRAUDLOOP_SAGEMAKER."""
    arguments = {"role_arn": JOBS.role_arn, "image": JOBS.image, "subnets": ["subnet-1"]}
    policies = {"fraud": Policy("fraud", "data/", engine="sagemaker"), "other": Policy("other", "other/")}
    app = App(Settings("t", "d", "a", policies, kfp_url="http://127.0.0.1:9", sagemaker=arguments))
    assert isinstance(app.pipelines, Engines)
    assert app.pipelines.models == {"fraud"}
    with pytest.raises(Misconfigured, match="role_arn"):
        _ = App(Settings("t", "d", "a", policies, kfp_url="http://127.0.0.1:9")).pipelines


# -- inside of the container ----------------------------------------------------------------------------------------


def trained(order):
    """A stage that trains nothing."""
    if order.parameters.get("break"):
        raise Permanent("broken on purpose")
    return StageResult(metrics={"val_auc_roc": 0.97})


def hyperparameters_at(tmp_path, **parameters):
    arguments = StageRequest(
        "fraud-7", "fraud", Stage.TRAIN, 1, "0123456789ab", str(tmp_path / "out"), parameters=parameters
    )
    path = tmp_path / "hyperparameters.json"
    path.write_text(json.dumps(hyperparameters(arguments)))
    return path


def test_the_container_leaves_the_same_report_as_a_kfp_step(tmp_path, capsys):
    """The controller reads report.json; SageMaker's console reads the metrics from the log."""
    assert sagemaker_job.main(hyperparameters_at(tmp_path), f"{__name__}:trained") == "ok"
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert (report["launch_id"], report["outcome"], report["metrics"]["val_auc_roc"]) == ("0123456789ab", "ok", 0.97)
    assert "val_auc_roc=0.97" in capsys.readouterr().out


def test_a_failed_stage_fails_the_job_after_its_report(tmp_path):
    """Both engines say the same."""
    path = hyperparameters_at(tmp_path, **{"break": True})
    with pytest.raises(Permanent):
        sagemaker_job.main(path, f"{__name__}:trained")
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert (report["outcome"], report["permanent"]) == ("failed", True)
