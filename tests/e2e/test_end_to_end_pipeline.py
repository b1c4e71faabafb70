"""`fraud-detection-end-to-end` with its real stages: a person starts it in KFP, and no controller has a part in it."""

import warnings
from dataclasses import asdict

import pytest

from local.aws.resources import DATA, client
from local.demo import files
from local.demo.client import Client, Question
from local.system import PIPELINES
from training.deployment.cluster import Kubernetes

SECONDS = 600
ELSEWHERE = "elsewhere/"  # no model's prefix: the controller takes no notice


@pytest.fixture(scope="module")
def kfp(driver):
    """The client that everybody has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from kfp import Client

        return Client(host=driver.system.endpoints.urls["kfp"])


def arguments(policy):
    """What a person types into the KFP UI, from the model's own policy."""
    serving = asdict(policy.serving)
    return {
        "data_uri": f"s3://{DATA}/{ELSEWHERE}",
        "output_uri": policy.root,
        "run_id": "by-hand",
        "gate": {name: value for name, value in asdict(policy.gate).items() if value is not None},
        "preprocess_parameters": dict(policy.parameters["preprocess"]),
        "train_parameters": dict(policy.parameters["train"]),
        "evaluate_parameters": dict(policy.parameters["evaluate"]),
        "deploy_parameters": serving,
    }


@pytest.mark.timeout(900)
def test_from_files_in_s3_to_an_answer_of_triton(driver, kfp):
    """Every stage is the real one, handed on by KFP's artifacts; the version that was exported answers in the end."""
    policy, s3 = driver.app.policies["fraud"], client("s3", driver.system.endpoints.urls["aws"])
    for name, body in files.make(20_000, 7, 0.02).first.items():
        s3.put_object(Bucket=DATA, Key=ELSEWHERE + name, Body=body)
    disown(policy.serving)
    package = str(PIPELINES / "fraud-detection-end-to-end.yaml")
    run = kfp.create_run_from_pipeline_package(package, arguments=arguments(policy), enable_caching=False)
    ended = kfp.wait_for_run_completion(run.run_id, timeout=SECONDS, sleep_duration=1)
    steps = {step.display_name: step.state for step in ended.run_details.task_details}
    assert ended.state == "SUCCEEDED", steps
    assert [name for name, state in steps.items() if state != "SUCCEEDED"] == []
    (version,) = versions(s3, policy)
    question = Question.of_golden(driver.golden(version))
    asking = Client(driver.system.endpoints.urls["triton"], question)
    asking.reach(20, 20)
    asking.close()
    assert asking.requests >= 20
    assert not asking.failures
    assert driver.runs() == [], "the controller began nothing"


def disown(serving):
    """`kubectl annotate application triton-fraud fraudloop.io/owner-`: the controller is no longer its deployer."""
    cluster = Kubernetes(serving.application, serving.application_namespace, serving.namespace, serving.service)
    cluster.patch({"metadata": {"annotations": {"fraudloop.io/owner": None}}})


def versions(s3, policy):
    """The names of the exported versions."""
    bucket = policy.root.removeprefix("s3://")
    found = s3.list_objects_v2(Bucket=bucket, Prefix="models/fraud/", Delimiter="/")
    return [entry["Prefix"].split("/")[2] for entry in found["CommonPrefixes"]]
