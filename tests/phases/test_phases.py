"""Each check passes in a working environment and fails, with what to do, in a broken one. Undo can be repeated."""

import io
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, ClassVar

import boto3
import kfp_server_api
import pytest
from flask import Flask, jsonify
from kfp import dsl
from phase_cluster import Cluster, serving
from typer.testing import CliRunner

from cli.migration import phase
from cli.migration.phases import by_hand as by_hand_module
from cli.migration.phases import core, foundation, installation, production, release, table, trials, undo
from cli.migration.phases.check import CheckFailed, PhaseCheck, as_json, as_markdown, holds, run, tally
from cli.migration.phases.environment import Environment
from cli.migration.phases.rights import rights
from cli.stack import variable
from clients import kubernetes
from clients.kubernetes import ApiDenied
from local.argocd.record import ApplicationRecord
from local.argocd.settings import ArgoCDSettings
from local.aws import resources, server
from local.kfp import EmbeddedKFP
from statemachine.contracts.errors import Unreachable
from statemachine.contracts.report import Artifact
from statemachine.core.model import Release
from statemachine.core.run import Run, Trigger
from statemachine.core.states import State
from statemachine.store import put_index, put_run

VERSION = "fraud-1-0a1b2c3d"
NOTHING: dict[str, Any] = {"preprocess": {}, "train": {}}


@pytest.fixture(scope="module")
def kfp_endpoint(tmp_path_factory):
    endpoint = EmbeddedKFP(tmp_path_factory.mktemp("kfp"), tick=0).start()
    yield endpoint
    endpoint.stop()


@pytest.fixture
def aws():
    from moto.moto_api._internal.models import moto_api_backend

    with server.serving() as url:
        yield url
    moto_api_backend.reset()


@pytest.fixture
def cluster():
    """A cluster in which phase 1 to 4 hold."""
    ready = {
        "phase": "Running",
        "containerStatuses": [{"name": "c", "ready": True, "image": "", "imageID": "", "restartCount": 0}],
    }
    pod = {
        "metadata": {"name": "ml-pipeline-0"},
        "spec": {"containers": [{"name": "c", "command": []}]},
        "status": ready,
    }
    targets = {"data": {"activeTargets": [{"labels": {"job": "triton"}, "health": "up"}]}}
    optimum = {"parameterAssignments": [{"name": "learning_rate", "value": "0.003"}]}
    succeeded = {"conditions": [{"type": "Succeeded", "status": "True"}], "currentOptimalTrial": optimum}
    return Cluster(
        pods={"kubeflow": [pod]},
        logs={"nvidia-smi": "| NVIDIA-SMI 570.1 |", "aws": "PRE fraud-1/\n"},
        node_labels={"karpenter.sh/nodepool": "fraudloop-gpu", "node.kubernetes.io/instance-type": "g5.xlarge"},
        pages={"ml-pipeline-ui:80": "<!doctype html><html></html>", "prometheus:9090": json.dumps(targets)},
        experiments=[{"metadata": {"name": "hpo-1"}, "status": succeeded}],
    )


@pytest.fixture
def record(tmp_path):
    manifest = ArgoCDSettings("s3://artifacts/models/fraud").manifest()
    record = ApplicationRecord(tmp_path / "application.json", manifest)
    pointer = {"source": {"kustomize": {"commonAnnotations": {"fraudloop.io/model-version": VERSION}}}}
    record.patch({"metadata": {"annotations": {"fraudloop.io/generation": "4"}}, "spec": pointer})
    record.patch({"status": {"health": {"status": "Healthy"}, "sync": {"status": "Synced"}}})
    return record


@pytest.fixture
def triton():
    """Says which version it serves, as Triton's model configuration does."""
    app, answer = Flask("triton"), {"version": VERSION}

    @app.get("/v2/models/<model>/config")
    def config(model):
        return jsonify({"name": model, "parameters": {"candidate_version": {"string_value": answer["version"]}}})

    with serving(app) as url:
        yield url, answer


@pytest.fixture
def world(aws, cluster, record, triton, kfp_endpoint, monkeypatch, tmp_path):
    """Everything, well: the local cloud, the cluster's stand-in, the embedded KFP, a stub of Triton."""
    with serving(cluster.app(record)) as api:
        made = resources.create(aws)
        environment = {
            **resources.CREDENTIALS,
            **made.environment(),
            "AWS_ENDPOINT_URL": aws,
            "KUBERNETES_API_URL": api,
            "FRAUDLOOP_KFP_URL": kfp_endpoint.url,
            "FRAUDLOOP_KFP_NAMESPACE": "kubeflow",
            "FRAUDLOOP_SLACK_WEBHOOK": "",
            "TRITON_URL": triton[0],
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        world = Environment(environment=environment, wait=400, pause=0.1, parity=str(tmp_path / "parity.json"))
        well(world, tmp_path)
        yield world


def well(world, folder):
    """What the account and the table hold when all four phases are done."""
    store = world.app.store
    outputs = {"preprocess": {}, "train": {"model": Artifact("s3://fraudloop-artifacts/runs/fraud-1/model")}}
    done = Run("fraud-1", "fraud", 1, State.SUCCEEDED, version=1, created_at=1.0, outputs=outputs)
    store.table.write(put_run(done, "w"), put_index(done, "w"))
    champion = Release(VERSION, "fraud-1", f"s3://fraudloop-artifacts/models/fraud/{VERSION}", 4, 1.0)
    store.change_model("fraud", lambda model: replace(model, champion=champion))
    world.aws("s3").put_object(Bucket="fraudloop-artifacts", Key="kfp/v2/artifacts/x", Body=b"x")
    (folder / "parity.json").write_text(json.dumps({"go": True}))
    target = {
        "Arn": "arn:aws:lambda:us-east-1:123456789012:function:night",
        "RoleArn": "arn:aws:iam::123456789012:role/r",
    }
    world.aws("scheduler").create_schedule(
        Name="fraudloop-night", ScheduleExpression="cron(0 2 * * ? *)", State="ENABLED",
        FlexibleTimeWindow={"Mode": "OFF"}, Target=target, Description="The night",
    )  # fmt: skip
    topic = world.aws("sns").create_topic(Name="alarms")["TopicArn"]
    world.aws("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint="arn:aws:sqs:us-east-1:123456789012:x")
    world.aws("cloudwatch").put_metric_alarm(
        AlarmName="fraudloop-RunFailed", ComparisonOperator="GreaterThanThreshold", EvaluationPeriods=1,
        Threshold=0, MetricName="RunsFailed", Namespace="Fraudloop", Period=60, Statistic="Sum", AlarmActions=[topic],
    )  # fmt: skip


def ask(check, world):
    (finding,) = run([check], world)
    return finding


def named(checks, part) -> PhaseCheck:
    return next(check for check in checks if part in check.name)


YES = [
    (foundation.CHECKS, "pods of Kubeflow", "1 pods run in kubeflow"),
    (foundation.CHECKS, "S3 from a pod", "lists 1 entries as fraudloop-stage"),
    (foundation.CHECKS, "GPU node", "g5.xlarge.*of NodePool fraudloop-gpu"),
    (foundation.CHECKS, "KFP's UI", "the UI answers"),
    (foundation.CHECKS, "stored in S3", "kfp/v2/artifacts/x"),
    (core.CHECKS, "preprocessed and trained", "fraud-1"),
    (core.CHECKS, "parity", "says go"),
    (release.CHECKS, "succeeded from end", "fraud-1 SUCCEEDED"),
    (release.CHECKS, "gate rejects", "verdict: .*auc"),
    (release.CHECKS, "points at the champion", "Healthy, Synced, generation 4"),
    (release.CHECKS, "every Triton pod", f"1 pods serve {VERSION}"),
    (production.CHECKS, "Katib", "hpo-1: learning_rate=0.003"),
    (production.CHECKS, "exactly one scheduler", "fraudloop-night is enabled"),
    (production.CHECKS, "alarms have", "1 alarms, none is active"),
    (production.CHECKS, "Prometheus", "1 targets are up"),
    (production.CHECKS, "SageMaker", "no endpoint is left"),
    (installation.CHECKS, "credentials", "arn:aws"),
    (installation.CHECKS, "stack's outputs", "table fraudloop"),
    (installation.CHECKS, "the table", "ACTIVE"),
    (installation.CHECKS, "deployment's id", "none yet|[0-9a-f]{8}, KFP experiment"),
    (installation.CHECKS, "queues", "no dead letter"),
    (installation.CHECKS, "KFP answers", "KFP answers"),
    (installation.CHECKS, "cluster answers", r"v1.33\+.*there are pods in kubeflow"),
    (installation.CHECKS, "your rights", "14 rights are granted"),
]


def test_a_world_that_is_well_gets_yes(world):
    """Each check says what it found."""
    for checks, part, answer in YES:
        finding = ask(named(checks, part), world)
        assert finding.ok, f"{part}: {finding.answer}"
        assert re.search(answer, finding.answer, re.IGNORECASE), f"{part}: {finding.answer}"
        assert finding.remedy == ""


def pending(world, cluster, record, triton, folder):
    cluster.pods["kubeflow"][0]["status"]["phase"] = "Pending"


def unready(world, cluster, record, triton, folder):
    cluster.pods["kubeflow"][0]["status"]["containerStatuses"][0]["ready"] = False


def denied(world, cluster, record, triton, folder):
    cluster.logs["aws"] = "An error occurred (AccessDenied) when calling the ListObjectsV2 operation"
    cluster.fails.add("aws")


def no_gpu(world, cluster, record, triton, folder):
    cluster.logs.pop("nvidia-smi")


def by_hand(world, cluster, record, triton, folder):
    cluster.node_labels.pop("karpenter.sh/nodepool")


def no_page(world, cluster, record, triton, folder):
    cluster.pages.clear()


def not_a_page(world, cluster, record, triton, folder):
    cluster.pages["ml-pipeline-ui:80"] = "upstream error"


def nothing_stored(world, cluster, record, triton, folder):
    world.aws("s3").delete_object(Bucket="fraudloop-artifacts", Key="kfp/v2/artifacts/x")


def no_go(world, cluster, record, triton, folder):
    (folder / "parity.json").write_text(json.dumps({"go": False, "reason": "AUC is 0.03 lower"}))


def no_parity(world, cluster, record, triton, folder):
    (folder / "parity.json").unlink()


def unhealthy(world, cluster, record, triton, folder):
    record.patch({"status": {"health": {"status": "Degraded"}}})


def elsewhere(world, cluster, record, triton, folder):
    pointer = {"source": {"kustomize": {"commonAnnotations": {"fraudloop.io/model-version": "fraud-0-ffffffff"}}}}
    record.patch({"spec": pointer})


def old_pod(world, cluster, record, triton, folder):
    triton[1]["version"] = "fraud-0-ffffffff"


def no_optimum(world, cluster, record, triton, folder):
    cluster.experiments[0]["status"].pop("currentOptimalTrial")


def unscheduled(world, cluster, record, triton, folder):
    undo.STEPS[4][0].act(world, undo.UndoRequest("me", "test"))


def mute(world, cluster, record, triton, folder):
    world.aws("cloudwatch").delete_alarms(AlarmNames=["fraudloop-RunFailed"])


def down(world, cluster, record, triton, folder):
    cluster.pages["prometheus:9090"] = cluster.pages["prometheus:9090"].replace('"up"', '"down"')


def endpoint(world, cluster, record, triton, folder):
    sagemaker = world.aws("sagemaker")
    sagemaker.create_model(
        ModelName="m", ExecutionRoleArn="arn:aws:iam::123456789012:role/r", PrimaryContainer={"Image": "i"}
    )
    variant = {"VariantName": "v", "ModelName": "m", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="fraud-endpoint", EndpointConfigName="c")


def refused(world, cluster, record, triton, folder):
    cluster.broken["/pods"] = 403


def old(world, cluster, record, triton, folder):
    cluster.version = "29"


def forbidden(world, cluster, record, triton, folder):
    cluster.denied.add("patch")


NO = [
    (foundation.CHECKS, "pods of Kubeflow", pending, "ml-pipeline-0 Pending"),
    (foundation.CHECKS, "pods of Kubeflow", unready, "not ready: ml-pipeline-0 Running"),
    (foundation.CHECKS, "pods of Kubeflow", refused, "403"),
    (foundation.CHECKS, "S3 from a pod", denied, "AccessDenied"),
    (foundation.CHECKS, "GPU node", no_gpu, "still Pending.*insufficient nvidia.com/gpu"),
    (foundation.CHECKS, "GPU node", by_hand, "Karpenter did not provision"),
    (foundation.CHECKS, "KFP's UI", no_page, "503"),
    (foundation.CHECKS, "KFP's UI", not_a_page, "does not answer with"),
    (foundation.CHECKS, "stored in S3", nothing_stored, "there is nothing under"),
    (core.CHECKS, "images", None, "not an image in ECR"),
    (core.CHECKS, "published", None, "not published"),
    (core.CHECKS, "parity", no_go, "AUC is 0.03 lower"),
    (core.CHECKS, "parity", no_parity, "is not there"),
    (release.CHECKS, "points at the champion", unhealthy, "Degraded"),
    (release.CHECKS, "points at the champion", elsewhere, "fraud-0-ffffffff, but the champion is"),
    (release.CHECKS, "every Triton pod", old_pod, "fraud-0-ffffffff"),
    (production.CHECKS, "Katib", no_optimum, "none of 1"),
    (production.CHECKS, "exactly one scheduler", unscheduled, "no scheduler"),
    (production.CHECKS, "triggers", None, "no nightly event"),
    (production.CHECKS, "alarms have", mute, "no alarm"),
    (production.CHECKS, "Prometheus", down, "down: triton"),
    (production.CHECKS, "SageMaker", endpoint, "fraud-endpoint"),
    (installation.CHECKS, "step function reaches KFP", None, "names no step function"),
    (installation.CHECKS, "pipelines are published", None, "not published"),
    (installation.CHECKS, "cluster answers", refused, "403"),
    (installation.CHECKS, "cluster answers", old, "v1.29; it must be 1.30 or newer"),
    (installation.CHECKS, "your rights", forbidden, "not allowed: patch applications triton-fraud in argocd"),
]


@pytest.mark.parametrize(("checks", "part", "breaks", "answer"), NO, ids=lambda value: getattr(value, "__name__", None))
def test_a_world_that_is_not_gets_no_and_what_to_do(
    world, cluster, record, triton, tmp_path, checks, part, breaks, answer
):
    """The finding says what was found, and the report what to do."""
    if breaks:
        breaks(world, cluster, record, triton, tmp_path)
    finding = ask(named(checks, part), replace(world, wait=0.3))
    assert not finding.ok
    assert re.search(answer, finding.answer), finding.answer
    assert len(finding.remedy) > 10


class Inside(Environment):
    """An environment whose step function gives this answer. moto runs no function without Docker."""

    SAYS: ClassVar[dict[str, object]] = {"kfp": ""}

    def aws(self, service):
        if service != "lambda":
            return super().aws(service)
        configuration = {"State": "Active", "VpcConfig": {"SubnetIds": ["subnet-1"]}}
        answer = {"Payload": io.BytesIO(json.dumps(self.SAYS).encode())}
        return SimpleNamespace(get_function_configuration=lambda **_: configuration, invoke=lambda **_: answer)


@pytest.mark.parametrize(
    ("description", "ok", "answer"),
    [
        ({"kfp": ""}, True, r"step \(subnet-1\) reaches KFP; 0 passes"),
        ({"kfp": "KFP: connection timed out"}, False, "step cannot reach KFP: KFP: connection timed out"),
        ({"errorMessage": "no such handler"}, False, "cannot be invoked: .*no such handler"),
    ],
)
def test_the_step_function_is_asked_from_inside_its_subnets(world, monkeypatch, description, ok, answer):
    """The function's own answer decides, not the network of the user."""
    monkeypatch.setattr(Inside, "SAYS", description)
    inside = Inside(environment={**world.environment, "STEP_FUNCTION_NAME": "step"})
    finding = ask(named(installation.CHECKS, "step function reaches KFP"), inside)
    assert (finding.ok, bool(re.search(answer, finding.answer))) == (ok, True), finding.answer


class Telling(Environment):
    """An environment whose bucket sends events to EventBridge, which AWS's GetBucketNotification returns and moto's
    does not.
    """

    def aws(self, service):
        client = super().aws(service)
        if service == "s3":
            configuration: dict[str, Any] = {"EventBridgeConfiguration": {}}
            client.get_bucket_notification_configuration = lambda Bucket: configuration  # noqa: N803 — boto3's name
        return client


def test_a_versioned_data_bucket_with_eventbridge_passes(world):
    """Silent, or without versions, it is not."""
    telling = Telling(environment=world.environment)
    assert ask(named(installation.CHECKS, "data bucket"), telling).ok
    assert "sends no events to EventBridge" in ask(named(installation.CHECKS, "data bucket"), world).answer
    world.aws("s3").put_bucket_versioning(Bucket="fraudloop-data", VersioningConfiguration={"Status": "Suspended"})
    assert "is not versioned" in ask(named(installation.CHECKS, "data bucket"), telling).answer


def test_every_check_is_seen_to_fail_or_says_here_why_not():
    """Every check can fail. The rest need a run or an empty account (below), or a real Triton (tests/serving)."""
    elsewhere = {"a hello-world pipeline", "an artifact is passed between two steps",
                 "predictions are equal to the offline ones", "a run succeeded from end to end",
                 "the gate rejects a bad model", "a run preprocessed and trained",
                 "kubectl, git and sam are here", "credentials", "the stack's outputs", "the table",
                 "the data bucket", "the queues", "KFP answers from here", "the deployment's id"}  # fmt: skip
    seen = {named(checks, part).name for checks, part, _, _ in NO}
    every = {c.name for _, checks in table.PHASES.values() for c in checks} | {c.name for c in installation.CHECKS}
    assert every - seen == elsewhere


def test_nothing_there_is_no_for_all_the_others(aws, monkeypatch):
    """An empty account and no KFP: the checks that need a table, a bucket or a run say so."""
    for name, value in {**resources.CREDENTIALS, "AWS_ENDPOINT_URL": aws, "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    named_only = dict.fromkeys(installation.NEEDED, "nothing") | {"FRAUDLOOP_KFP_URL": "http://127.0.0.1:9"}
    world = Environment(environment=named_only, wait=0.3)
    monkeypatch.setenv("FRAUDLOOP_HOME", "/nowhere")
    for part in ("the table", "the data bucket", "the queues", "KFP answers", "deployment's id"):
        assert not ask(named(installation.CHECKS, part), world).ok, part
    for part in ("succeeded from end", "gate rejects"):
        assert not ask(named(release.CHECKS, part), world).ok, part
    assert "cannot check" in ask(named(core.CHECKS, "preprocessed"), world).answer
    assert not ask(named(installation.CHECKS, "stack's outputs"), Environment(environment={})).ok


def test_kfp_runs_hello_world_and_hands_an_artifact_on(world):
    """Real pipelines, compiled, uploaded and executed by the embedded KFP, and removed again."""
    for part in ("hello-world", "artifact is passed"):
        finding = ask(named(foundation.CHECKS, part), world)
        assert finding.ok, finding.answer
    left = kfp_server_api.PipelineServiceApi(world.kfp).pipeline_service_list_pipelines(namespace="kubeflow").pipelines
    assert not [p for p in left or () if "fraudloop-check" in p.display_name]


def test_a_check_leaves_no_pod_behind(world, cluster):
    """Whether it came to an end or not."""
    ask(named(foundation.CHECKS, "GPU node"), world)
    cluster.logs.clear()
    ask(named(foundation.CHECKS, "S3 from a pod"), replace(world, wait=0.2))
    assert [pod["metadata"]["name"] for pod in cluster.pods["kubeflow"]] == ["ml-pipeline-0"]
    gpu, s3 = cluster.started
    assert gpu["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert s3["spec"]["serviceAccountName"] == "fraudloop-stage"


def test_the_pod_of_a_check_is_one_that_a_restricted_namespace_admits(world, cluster):
    """The rules of the PodSecurity standard `restricted` (kubernetes.io, Pod Security Standards), one by one."""
    for part in ("GPU node", "S3 from a pod"):
        ask(named(foundation.CHECKS, part), world)
    assert len(cluster.started) == 2
    for spec in (pod["spec"] for pod in cluster.started):
        assert not {"hostNetwork", "hostPID", "hostIPC", "volumes"} & set(spec)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] != 0
        assert spec["securityContext"]["seccompProfile"]["type"] in ("RuntimeDefault", "Localhost")
        for container in spec["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert not container["securityContext"].get("privileged")


def test_the_doctor_asks_for_every_right_that_checks_and_undo_use_and_for_no_other(world, cluster, record, monkeypatch):
    """What they really send is recorded and compared, both ways."""
    monkeypatch.delenv("TRITON_URL")
    cluster.slices = [{"endpoints": None, "ports": None}]
    everything = [check for _, checks in table.PHASES.values() for check in checks if check.name not in PIPELINES]
    run([*everything, *installation.CHECKS], replace(world, wait=0.1))
    requests = [(number, undo.UndoRequest("me", "test", to="fraud-0-ffffffff")) for number in undo.STEPS]
    for number, request in requests:
        carried(number, world, request)
    sent = {
        requested if requested.resource != "pods" and requested.resource != "nodes" else replace(requested, name="")
        for requested in cluster.requested
    }
    assert sent == set(rights(world))


PIPELINES = {"a hello-world pipeline", "an artifact is passed between two steps"}  # of KFP alone, and slow


def test_an_answer_through_the_api_server_is_read_as_it_was_sent(world, cluster):
    """Quotes of both kinds in a target's error: the client's own reading made a Python repr of it."""
    error = 'Get "http://10.0.0.7:8002": can\'t connect'
    targets = [{"labels": {"job": "triton"}, "health": "down", "lastError": error}]
    cluster.pages["prometheus:9090"] = json.dumps({"status": "success", "data": {"activeTargets": targets}})
    finding = ask(named(production.CHECKS, "Prometheus"), world)
    assert finding.answer == "down: triton"


def test_undo_1_deletes_the_namespace_and_the_roles_and_keeps_the_data(world, cluster):
    """Twice: the second time there is nothing to do."""
    world.aws("cloudformation").create_stack(
        StackName="fraudloop-roles", TemplateBody=json.dumps({"Resources": {"T": {"Type": "AWS::SNS::Topic"}}})
    )
    answer = carried(1, world)
    assert cluster.namespaces["kubeflow"] == "Terminating"
    assert all(line.startswith("done") for line in answer)
    assert all(line.startswith("already done") for line in carried(1, world))
    assert world.aws("s3").head_bucket(Bucket="fraudloop-artifacts")


def test_undo_2_holds_the_model_and_deletes_failed_runs_alone(world):
    """The run that succeeded stays, and so do files and images; twice is once."""

    @dsl.component(base_image="python:3.11", install_kfp_package=False)
    def breaks() -> None:
        raise RuntimeError("on purpose")

    @dsl.pipeline(name="fraudloop-check-fails")
    def failing():
        breaks().set_caching_options(False)

    there = replace(world, environment={**world.environment, "FRAUDLOOP_KFP_EXPERIMENT": "fraudloop-checks"})
    good = trials.ran(there, trials.hello_world)
    with pytest.raises(CheckFailed, match="ended FAILED"):
        trials.ran(there, failing)
    runs = kfp_server_api.RunServiceApi(there.kfp)
    before = {run.run_id for run in runs.run_service_list_runs(namespace="kubeflow", page_size=200).runs}
    assert all(line.startswith("done") for line in carried(2, there))
    after = {run.run_id for run in runs.run_service_list_runs(namespace="kubeflow", page_size=200).runs}
    assert len(before - after) == 1
    assert good in after
    assert world.app.store.model("fraud").hold.why == "test"
    assert all(line.startswith("already done") for line in carried(2, there))


def test_undo_3_deploys_the_named_version_by_hand(world, record):
    """The loop is put on hold first; then pointer, owner and a higher generation in one write, and a sync."""
    request = undo.UndoRequest("me", "it is worse", to="fraud-0-ffffffff")
    carried(3, world, request)
    live = record.get()
    assert live["spec"]["source"]["kustomize"]["commonAnnotations"]["fraudloop.io/model-version"] == "fraud-0-ffffffff"
    assert live["metadata"]["annotations"] == {"fraudloop.io/owner": "person", "fraudloop.io/generation": "5"}
    assert live["operation"]["sync"] is not None
    assert world.app.store.model("fraud").hold.why == "it is worse"
    synced(record)
    assert all(line.startswith("already done") for line in carried(3, world, request))


def synced(record, phase="Succeeded"):
    """Argo CD has completed the requested operation."""
    done = {"operation": record.get()["operation"], "phase": phase, "startedAt": "2026-11-24T02:00:00Z"}
    record.patch({"operation": None, "status": {"operationState": {**done, "finishedAt": "2026-11-24T02:00:05Z"}}})


def test_undo_3_repeated_after_a_death_syncs_what_was_only_pointed_at(world, record):
    """The pointer alone serves nothing: a repetition that finds it moved still asks for the sync, once."""
    request = undo.UndoRequest("me", "it is worse", to="fraud-0-ffffffff")
    pointer = {"source": {"kustomize": {"commonAnnotations": {"fraudloop.io/model-version": request.to}}}}
    annotations = {"fraudloop.io/owner": "person", "fraudloop.io/generation": "5"}
    record.patch({"metadata": {"annotations": annotations}, "spec": pointer})  # as it was left by a death
    assert carried(3, world, request)[1].startswith("done")
    live = record.get()
    assert live["operation"]["info"] == [{"name": "correlationId", "value": "by-hand-5"}]
    assert live["metadata"]["annotations"]["fraudloop.io/generation"] == "5", "nothing was to be raised again"
    synced(record, "Failed")
    assert carried(3, world, request)[1].startswith("done"), "a sync that failed has deployed nothing"
    synced(record)
    assert carried(3, world, request)[1].startswith("already done")


def test_undo_3_is_not_ended_by_a_conflict_or_a_restart(world, cluster, record, monkeypatch):
    """409 at either write, 503 and 403 in between: it reads again, and each write is made once."""
    seen = []

    class Busy(kubernetes.Applications):
        def patch(self, patch):
            seen.append(patch)
            if len(seen) in (1, 3):
                record.patch({"metadata": {"labels": {"touched": str(len(seen))}}})
            if len(seen) in (2, 5):
                raise (ApiDenied if len(seen) == 2 else Unreachable)("the API server was restarted")
            super().patch(patch)

    monkeypatch.setattr(kubernetes, "Applications", Busy)
    assert carried(3, world, undo.UndoRequest("me", "worse", to="fraud-0-ffffffff"))[1].startswith("done")
    live = record.get()
    assert live["metadata"]["annotations"]["fraudloop.io/generation"] == "5"
    assert live["operation"]["info"][0]["value"] == "by-hand-5"
    assert len(seen) == 6
    assert ["operation" in patch for patch in seen] == [False, False, False, False, True, True]


def test_undo_3_waits_for_another_operation_and_then_forgives_a_conflict(world, record, monkeypatch):
    """The time of the other operation does not count as failing requests."""
    monkeypatch.setattr(by_hand_module, "PATIENCE", 0.2)
    record.patch({"operation": {"info": [{"name": "correlationId", "value": "other"}], "sync": {}}})
    reads: list[Any] = []
    conflicts: list[Any] = []

    class Busy(kubernetes.Applications):
        def read(self):
            reads.append(1)
            if len(reads) == 40:
                synced(record)
            return super().read()

        def patch(self, patch):
            if "operation" in patch and not conflicts:
                conflicts.append(record.patch({"metadata": {"labels": {"touched": "yes"}}}))
            super().patch(patch)

    monkeypatch.setattr(kubernetes, "Applications", Busy)
    assert carried(3, world, undo.UndoRequest("me", "worse", to="fraud-0-ffffffff"))[1].startswith("done")
    assert conflicts
    assert record.get()["operation"]["info"][0]["value"] == "by-hand-5"


def test_undo_3_gives_up_on_what_stays_denied(world, cluster):
    """In the API's own words, after a bounded time."""
    cluster.broken["/applications/"] = 403
    with pytest.raises(ApiDenied, match="403"):
        carried(3, world, undo.UndoRequest("me", "worse", to="fraud-0-ffffffff"))


def test_undo_3_without_a_version_changes_nothing(world, record):
    """The error names what is missing before the pointer moves."""
    with pytest.raises(Exception, match="--to VERSION"):
        carried(3, world)
    assert record.get()["metadata"]["annotations"]["fraudloop.io/generation"] == "4"


def test_undo_4_pauses_the_schedule(world):
    """It is disabled, not deleted, and keeps its target."""
    request = undo.UndoRequest("me", "back to SageMaker", to=VERSION)
    undo.carry_out(undo.STEPS[4][:2], world, request, lambda line: None)
    found = world.aws("scheduler").get_schedule(Name="fraudloop-night")
    assert found["State"] == "DISABLED"
    assert found["Description"] == "The night"
    assert found["Target"]["Arn"].endswith("function:night")


def carried(number, world, request=None):
    answer: list[str] = []
    undo.carry_out(
        undo.STEPS[number], replace(world, pause=0.01, wait=1), request or undo.UndoRequest("me", "test"), answer.append
    )
    return answer


def test_the_command_writes_both_reports_and_sets_the_exit_status(world, tmp_path):
    """Markdown and JSON. Status 0 only if every check holds. `undo` asks for confirmation."""
    runner = CliRunner()
    good = runner.invoke(phase.app, ["check", "1", "--only", "pods of", "--out", str(tmp_path / "report")])
    assert good.exit_code == 0, good.output
    assert "1 of 1 checks hold" in (tmp_path / "report.md").read_text()
    assert json.loads((tmp_path / "report.json").read_text())["ok"] is True
    assert runner.invoke(phase.app, ["check", "2", "--only", "published"]).exit_code == 1
    declined = runner.invoke(phase.app, ["undo", "1", "--why", "test"], input="n\n")
    assert declined.exit_code == 1
    assert "delete the pipelines' namespace" in declined.output
    assert boto3.client("sts").get_caller_identity()["Account"]


def test_the_local_system_skips_what_it_cannot_check(world):
    """On the local system, checks that need a cluster are skipped: the report says so, and they neither hold nor
    fail.
    """
    here = replace(world, local=True)
    findings = run(table.PHASES[4][1], here)
    assert {finding.ok for finding in findings if "schedule triggers" not in finding.name} == {None}
    assert all("it needs" in finding.answer for finding in findings if finding.ok is None)
    assert not holds(findings), "no night was counted yet"
    assert not holds([finding for finding in findings if finding.ok is None]), "nothing asked is nothing held"
    assert tally(findings) == "0 of 6 checks hold, 5 skipped on this machine"
    assert "| not here |" in as_markdown("T", findings)
    world.app.intake.ask("fraud", Trigger("nightly", "", "a test"), slot=datetime.now(UTC).isoformat())
    assert holds(run(table.PHASES[4][1], here))


def test_an_error_of_one_check_hides_no_other():
    """A broken API is a finding; the report names what to do for it."""

    def broken(world):
        raise RuntimeError("no route to host")

    def no(world):
        raise CheckFailed("a | b")

    findings = run(
        [
            PhaseCheck("1", "x", broken, "mend x"),
            PhaseCheck("1", "y", no, "mend y"),
            PhaseCheck("1", "z", lambda w: "ok", "-"),
        ],
        Environment(),
    )
    assert [f.ok for f in findings] == [False, False, True]
    text = as_markdown("T", findings)
    assert "cannot check: RuntimeError: no route to host" in text
    assert "a \\| b" in text
    assert "- **y**: mend y" in text
    assert as_json("T", findings)["ok"] is False


def test_outputs_name_settings():
    """FraudloopHintsQueueUrl is FRAUDLOOP_HINTS_QUEUE_URL."""
    assert variable("FraudloopHintsQueueUrl") == "FRAUDLOOP_HINTS_QUEUE_URL"
    assert variable("FraudloopTable") == "FRAUDLOOP_TABLE"
    assert variable("FraudloopNightlyFunction") == "FRAUDLOOP_NIGHTLY_FUNCTION"
