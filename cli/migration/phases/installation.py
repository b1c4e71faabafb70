"""What `doctor` asks: is everything here that the loop and its operators need? Each failure says what to do."""

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
OLDEST = (1, 30)  # Kubernetes: preStop's sleep, which Triton's pods drain by
TOOLS = {"kubectl": ("version", "--client"), "git": ("--version",), "sam": ("--version",)}


def tools(world: Environment) -> str:
    """kubectl, git and sam answer."""
    said = []
    for name, arguments in TOOLS.items():
        path = shutil.which(name) or _own(name)
        if path is None:
            raise CheckFailed(f"{name} is neither on PATH nor in .venv-aws")
        done = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise CheckFailed(f"{path} {' '.join(arguments)} ends with {done.returncode}: {done.stderr.strip()[:200]}")
        said.append(done.stdout.strip().splitlines()[0])
    return ", ".join(said)


def _own(name: str) -> str | None:
    path = Path(__file__).resolve().parents[3] / ".venv-aws/bin" / name
    return str(path) if path.exists() else None


def credentials(world: Environment) -> str:
    """STS knows who asks."""
    return str(world.aws("sts").get_caller_identity()["Arn"])


def settings(world: Environment) -> str:
    """All that the stack says is there."""
    missing = [name for name in NEEDED if not world.settings.get(name)]
    if missing:
        raise CheckFailed(f"not set: {', '.join(missing)}")
    return f"table {world.settings['FRAUDLOOP_TABLE']}, KFP at {world.settings['FRAUDLOOP_KFP_URL']}"


def table(world: Environment) -> str:
    """The table answers, with its index and its stream."""
    found = world.aws("dynamodb").describe_table(TableName=world.setting("FRAUDLOOP_TABLE"))["Table"]
    indexes = [index["IndexName"] for index in found.get("GlobalSecondaryIndexes", ())]
    if "due" not in indexes or not found.get("StreamSpecification", {}).get("StreamEnabled"):
        raise CheckFailed(f"it has indexes {indexes} and stream {found.get('StreamSpecification')}: not our table")
    return f"{found['TableName']} is {found['TableStatus']}"


def deployment(world: Environment) -> str:
    """Whose runs these are: the id that the table's runs, launches and folders carry."""
    found = world.app.store.table.get(DEPLOYMENT)
    experiment = world.app.settings.kfp_experiment
    if found is None:
        return f"none yet: it is drawn with the first run; KFP experiment {experiment}"
    return f"{found['id']}, KFP experiment {experiment}"


def data(world: Environment) -> str:
    """The data bucket tells EventBridge of its objects, and keeps versions."""
    bucket, s3 = world.setting("FRAUDLOOP_DATA_BUCKET"), world.aws("s3")
    if s3.get_bucket_versioning(Bucket=bucket).get("Status") != "Enabled":
        raise CheckFailed(f"{bucket} keeps no versions")
    told = s3.get_bucket_notification_configuration(Bucket=bucket)
    if "EventBridgeConfiguration" not in told:
        raise CheckFailed(f"{bucket} does not tell EventBridge of new objects")
    return f"{bucket} keeps versions and tells EventBridge"


def queues(world: Environment) -> str:
    """The queues answer; nothing waits in a dead-letter queue."""
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
    """The step function, which alone stands in its subnets, is asked whether KFP answers from there.

    Passes of the last hour that reached nothing are told with it: an outage that comes and goes.
    """
    name = world.settings.get(variable("StepFunctionName"), "")
    if not name:
        raise CheckFailed("the stack names no step function")
    found = world.aws("lambda").get_function_configuration(FunctionName=name)
    if found.get("State") not in (None, "Active"):
        raise CheckFailed(f"{name} is {found['State']}: {found.get('StateReason')}")
    answer = world.aws("lambda").invoke(FunctionName=name, Payload=json.dumps({"source": PROBE}))
    told = json.load(answer["Payload"])
    if "FunctionError" in answer or "kfp" not in told:
        raise CheckFailed(f"{name} could not be asked: {json.dumps(told)[:300]}")
    if told["kfp"]:
        raise CheckFailed(f"asked from inside, {name} says: {told['kfp']}")
    vpc = ", ".join(found.get("VpcConfig", {}).get("SubnetIds", ())) or "no VPC"
    missed = _counted(world, "WorldUnreachable")
    return f"{name} ({vpc}) was asked, and KFP answers it; {missed:.0f} passes of the last hour reached nothing"


def _counted(world: Environment, metric: str) -> float:
    now = datetime.now(UTC)
    ours = f" WHERE stack = '{world.stack}'" if world.stack else ""
    query = {"Id": "sum", "Expression": f'SELECT SUM({metric}) FROM "Fraudloop"{ours}', "Period": 3600}  # noqa: S608 — our own metric's name and the stack's, which CloudFormation limits to letters, digits and -
    answer = world.aws("cloudwatch").get_metric_data(
        MetricDataQueries=[query], StartTime=now - timedelta(hours=1), EndTime=now
    )
    return float(sum(sum(result["Values"]) for result in answer["MetricDataResults"]))


def kubeflow(world: Environment) -> str:
    """KFP answers from here, and which version it is."""
    found = kfp.HealthzServiceApi(world.kfp).healthz_service_get_healthz(_request_timeout=PATIENCE)
    return f"KFP answers (multi-user: {bool(found.multi_user)})"


def cluster(world: Environment) -> str:
    """The Kubernetes API answers, is new enough, and lets us see the pipelines' pods."""
    version = client.VersionApi(world.api).get_code(_request_timeout=PATIENCE)
    if (int(version.major), int(re.sub(r"\D", "", version.minor))) < OLDEST:
        raise CheckFailed(
            f"{world.api.configuration.host} is {version.git_version}; it must be {OLDEST[0]}.{OLDEST[1]} or newer"
        )
    found = world.core.list_namespaced_pod(world.namespace, limit=1, _request_timeout=PATIENCE)
    seen = "pods" if found.items else "no pod"
    return f"{world.api.configuration.host} answers ({version.git_version}); there are {seen} in {world.namespace}"


def rights(world: Environment) -> str:
    """The person who asks may do in the cluster what `phase check` and `phase undo` do, as its API server says."""
    wanted = needed.rights(world)
    denied = [str(right) for right in wanted if not kubernetes.allowed(world.api, right)]
    if denied:
        raise CheckFailed(f"not allowed: {', '.join(denied)}")
    return f"{len(wanted)} rights are there"


CHECKS = (
    PhaseCheck("tools", "kubectl, git and sam are here", tools, "make aws-tools"),
    PhaseCheck("aws", "credentials", credentials, "aws sso login, or set AWS_PROFILE"),
    PhaseCheck(
        "aws", "the stack says where everything is", settings, "fraudloop doctor --stack NAME, after sam deploy"
    ),
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
