"""The checks of `doctor`: everything that the loop and its operators need. Each failure says what to do."""

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import kfp_server_api as kfp
from kubernetes import client

from cli.migration.phases import rights as needed
from cli.migration.phases.check import CheckFailed, PhaseCheck
from cli.migration.phases.core import published
from cli.migration.phases.environment import PATIENCE, Environment
from cli.stack import variable
from clients import kubernetes
from statemachine.core.events import PROBE
from statemachine.store import DEPLOYMENT

NEEDED = (
    "FRAUDLOOP_TABLE",
    "FRAUDLOOP_DATA_BUCKET",
    "FRAUDLOOP_ARTIFACTS_BUCKET",
    "FRAUDLOOP_HINTS_QUEUE_URL",
    "FRAUDLOOP_KFP_URL",
)
OLDEST = (1, 30)  # in Kubernetes: preStop's sleep, which drains Triton's pods
TOOLS = {"kubectl": ("version", "--client"), "git": ("--version",), "sam": ("--version",)}


def tools(world: Environment) -> str:
    """Check that kubectl, git and sam run."""
    versions = []
    for name, arguments in TOOLS.items():
        path = shutil.which(name) or _own(name)
        if path is None:
            raise CheckFailed(f"{name} is neither on PATH nor in .venv-aws")
        done = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise CheckFailed(f"{path} {' '.join(arguments)} ends with {done.returncode}: {done.stderr.strip()[:200]}")
        versions.append(done.stdout.strip().splitlines()[0])
    return ", ".join(versions)


def _own(name: str) -> str | None:
    path = Path(__file__).resolve().parents[3] / ".venv-aws/bin" / name
    return str(path) if path.exists() else None


def credentials(world: Environment) -> str:
    """Check that STS knows the caller."""
    return str(world.aws("sts").get_caller_identity()["Arn"])


def settings(world: Environment) -> str:
    """Check that all settings of the stack are there."""
    missing = [name for name in NEEDED if not world.settings.get(name)]
    if missing:
        raise CheckFailed(f"not set: {', '.join(missing)}")
    return f"table {world.settings['FRAUDLOOP_TABLE']}, KFP at {world.settings['FRAUDLOOP_KFP_URL']}"


def table(world: Environment) -> str:
    """Check that the table answers, with its index and its stream."""
    found = world.aws("dynamodb").describe_table(TableName=world.setting("FRAUDLOOP_TABLE"))["Table"]
    indexes = [index["IndexName"] for index in found.get("GlobalSecondaryIndexes", ())]
    if "due" not in indexes or not found.get("StreamSpecification", {}).get("StreamEnabled"):
        raise CheckFailed(f"it has indexes {indexes} and stream {found.get('StreamSpecification')}: not our table")
    return f"{found['TableName']} is {found['TableStatus']}"


def deployment(world: Environment) -> str:
    """Return the deployment's id, which is part of the table's runs, launches and folders."""
    found = world.app.store.table.get(DEPLOYMENT)
    experiment = world.app.settings.kfp_experiment
    if found is None:
        return f"none yet: it is drawn with the first run; KFP experiment {experiment}"
    return f"{found['id']}, KFP experiment {experiment}"


def data(world: Environment) -> str:
    """Check that the data bucket sends its events to EventBridge and is versioned."""
    bucket, s3 = world.setting("FRAUDLOOP_DATA_BUCKET"), world.aws("s3")
    if s3.get_bucket_versioning(Bucket=bucket).get("Status") != "Enabled":
        raise CheckFailed(f"{bucket} is not versioned")
    answer_body = s3.get_bucket_notification_configuration(Bucket=bucket)
    if "EventBridgeConfiguration" not in answer_body:
        raise CheckFailed(f"{bucket} sends no events to EventBridge")
    return f"{bucket} is versioned and sends events to EventBridge"


def queues(world: Environment) -> str:
    """Check that the queues answer and that no dead-letter queue has messages."""
    sqs, urls = world.aws("sqs"), [world.setting("FRAUDLOOP_HINTS_QUEUE_URL")]
    urls += [url for url in world.settings.get(variable("DeadLetterQueues"), "").split(",") if url]
    waiting = {}
    for n, url in enumerate(urls):
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])["Attributes"]
        if n and int(found["ApproximateNumberOfMessages"]):
            waiting[url.rsplit("/", 1)[-1]] = found["ApproximateNumberOfMessages"]
    if waiting:
        raise CheckFailed(f"dead letters: {waiting}")
    return f"{len(urls)} queues answer, no dead letter"


def ticking(world: Environment) -> str:
    """Ask the step function, the only one in its subnets, whether KFP answers from there.

    The result includes the last hour's passes that could not reach KFP, which shows an intermittent outage.
    """
    name = world.settings.get(variable("StepFunctionName"), "")
    if not name:
        raise CheckFailed("the stack names no step function")
    found = world.aws("lambda").get_function_configuration(FunctionName=name)
    if found.get("State") not in (None, "Active"):
        raise CheckFailed(f"{name} is {found['State']}: {found.get('StateReason')}")
    answer = world.aws("lambda").invoke(FunctionName=name, Payload=json.dumps({"source": PROBE}))
    answer_body = json.load(answer["Payload"])
    if "FunctionError" in answer or "kfp" not in answer_body:
        raise CheckFailed(f"{name} cannot be invoked: {json.dumps(answer_body)[:300]}")
    if answer_body["kfp"]:
        raise CheckFailed(f"{name} cannot reach KFP: {answer_body['kfp']}")
    vpc = ", ".join(found.get("VpcConfig", {}).get("SubnetIds", ())) or "no VPC"
    missed = _counted(world, "WorldUnreachable")
    return f"{name} ({vpc}) reaches KFP; {missed:.0f} passes of the last hour did not"


def _counted(world: Environment, metric: str) -> float:
    now = datetime.now(UTC)
    ours = f" WHERE stack = '{world.stack}'" if world.stack else ""
    query = {"Id": "sum", "Expression": f'SELECT SUM({metric}) FROM "Fraudloop"{ours}', "Period": 3600}  # noqa: S608 — our own metric's name and the stack's, which CloudFormation limits to letters, digits and -
    answer = world.aws("cloudwatch").get_metric_data(
        MetricDataQueries=[query], StartTime=now - timedelta(hours=1), EndTime=now
    )
    return float(sum(sum(result["Values"]) for result in answer["MetricDataResults"]))


def kubeflow(world: Environment) -> str:
    """Check that KFP answers from here, and return its version."""
    found = kfp.HealthzServiceApi(world.kfp).healthz_service_get_healthz(_request_timeout=PATIENCE)
    return f"KFP answers (multi-user: {bool(found.multi_user)})"


def cluster(world: Environment) -> str:
    """Check that the Kubernetes API answers, is new enough, and lets us read the pipelines' pods."""
    version = client.VersionApi(world.api).get_code(_request_timeout=PATIENCE)
    if (int(version.major), int(re.sub(r"\D", "", version.minor))) < OLDEST:
        raise CheckFailed(
            f"{world.api.configuration.host} is {version.git_version}; it must be {OLDEST[0]}.{OLDEST[1]} or newer"
        )
    found = world.core.list_namespaced_pod(world.namespace, limit=1, _request_timeout=PATIENCE)
    noun = "pods" if found.items else "no pod"
    return f"{world.api.configuration.host} answers ({version.git_version}); there are {noun} in {world.namespace}"


def rights(world: Environment) -> str:
    """Check that the user may do in the cluster what `phase check` and `phase undo` do, by the API server's answer."""
    wanted = needed.rights(world)
    denied = [str(right) for right in wanted if not kubernetes.allowed(world.api, right)]
    if denied:
        raise CheckFailed(f"not allowed: {', '.join(denied)}")
    return f"{len(wanted)} rights are granted"


CHECKS = (
    PhaseCheck("tools", "kubectl, git and sam are here", tools, "make aws-tools", needs="an AWS account"),
    PhaseCheck("aws", "credentials", credentials, "aws sso login, or set AWS_PROFILE"),
    PhaseCheck("aws", "the stack's outputs", settings, "fraudloop doctor --stack NAME, after sam deploy"),
    PhaseCheck(
        "aws",
        "the table",
        table,
        "is it the right account and region (AWS_REGION)? attach OperatorPolicyArn to yourself",
    ),
    PhaseCheck("aws", "the deployment's id", deployment, "attach OperatorPolicyArn to yourself"),
    PhaseCheck(
        "aws",
        "the data bucket",
        data,
        "an existing bucket: aws s3api put-bucket-notification-configuration --bucket B "
        "--notification-configuration EventBridgeConfiguration={}",
        needs="an AWS account",
    ),
    PhaseCheck("aws", "the queues", queues, "fraudloop dlq list, then fraudloop dlq replay"),
    PhaseCheck(
        "aws",
        "the step function reaches KFP",
        ticking,
        "is KfpUrl the internal load balancer, does its security group admit StepSecurityGroup, and "
        "have the subnets a way to DynamoDB, S3 and SQS?",
        needs="an AWS account",
    ),
    PhaseCheck(
        "kfp",
        "KFP answers from here",
        kubeflow,
        "kubectl -n kubeflow port-forward svc/ml-pipeline 8888, FRAUDLOOP_KFP_URL=http://127.0.0.1:8888",
    ),
    PhaseCheck("kfp", "the pipelines are published", published, "make build && fraudloop publish"),
    PhaseCheck("k8s", "the cluster answers", cluster, "aws eks update-kubeconfig --name CLUSTER", needs="a cluster"),
    PhaseCheck(
        "k8s",
        "your rights in the cluster",
        rights,
        "an EKS access entry with a role for what is named (deploy/kfp/base/rbac.yaml is the pods')",
        needs="a cluster",
    ),
)
