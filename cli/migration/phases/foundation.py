"""Phase 1: Kubeflow is installed, its pods reach S3, GPUs are provisioned, pipelines run."""

from cli.migration.phases import pods, trials
from cli.migration.phases.check import CheckFailed, PhaseCheck
from cli.migration.phases.environment import PATIENCE, Environment
from statemachine.contracts import paths


def running(world: Environment) -> str:
    """Check that every pod of the namespace is ready or has succeeded."""
    found = world.core.list_namespaced_pod(world.namespace, _request_timeout=PATIENCE).items
    if not found:
        raise CheckFailed(f"no pod in namespace {world.namespace}")
    wrong = [f"{pod.metadata.name} {pod.status.phase}" for pod in found if not _well(pod)]
    if wrong:
        raise CheckFailed(f"{len(wrong)} of {len(found)} pods are not ready: {', '.join(sorted(wrong)[:5])}")
    return f"{len(found)} pods run in {world.namespace}"


def _well(pod: object) -> bool:
    status = pod.status  # type: ignore[attr-defined]
    if status.phase == "Succeeded":
        return True
    return status.phase == "Running" and all(container.ready for container in status.container_statuses or ())


def s3_from_a_pod(world: Environment) -> str:
    """Check that a pod with the stages' service account lists the artifacts bucket: IRSA works."""
    bucket = world.setting("FRAUDLOOP_ARTIFACTS_BUCKET")
    prefix = f"{paths.runs_folder(f's3://{bucket}')}/"
    done = pods.ran(world, world.image, ["aws", "s3", "ls", prefix], account=world.service_account)
    return f"{prefix} lists {len(done.log.splitlines())} entries as {world.service_account}"


def gpu(world: Environment) -> str:
    """Check that `nvidia-smi` works in a pod, on a node that Karpenter provisioned."""
    done = pods.ran(world, world.gpu_image, ["nvidia-smi"], gpu=True)
    if "NVIDIA-SMI" not in done.log:
        raise CheckFailed(f"nvidia-smi ran on {done.node} but printed: {done.log[:200]!r}")
    labels = world.core.read_node(done.node, _request_timeout=PATIENCE).metadata.labels or {}
    pool = labels.get("karpenter.sh/nodepool")
    if not pool:
        raise CheckFailed(f"it ran on {done.node}, which Karpenter did not provision (no label karpenter.sh/nodepool)")
    return f"nvidia-smi on {done.node} ({labels.get('node.kubernetes.io/instance-type', '?')}) of NodePool {pool}"


def page(world: Environment) -> str:
    """Check that KFP's UI answers through the API server."""
    answer = world.proxied(world.namespace, "ml-pipeline-ui:80", "")
    if "<html" not in answer.lower():
        raise CheckFailed(f"ml-pipeline-ui does not answer with KFP's page: {answer[:120]!r}")
    return "the UI answers"


def hello(world: Environment) -> str:
    """Check that a pipeline of one step succeeds."""
    return f"run {trials.ran(world, trials.hello_world)} SUCCEEDED"


def artifacts(world: Environment) -> str:
    """Check that a second step reads what the first one wrote."""
    return f"run {trials.ran(world, trials.two_steps)} SUCCEEDED"


def stored(world: Environment) -> str:
    """Check that KFP's artifacts are in S3, under the pipeline root."""
    bucket = world.setting("FRAUDLOOP_ARTIFACTS_BUCKET")
    found = world.aws("s3").list_objects_v2(Bucket=bucket, Prefix="kfp/", MaxKeys=10).get("Contents", [])
    if not found:
        raise CheckFailed(f"there is nothing under s3://{bucket}/kfp/")
    return f"{found[0]['Key']} and more under s3://{bucket}/kfp/"


CHECKS = (
    PhaseCheck(
        "1.1",
        "the pods of Kubeflow run",
        running,
        "`kubectl describe pod` names the reason; see docs/install.md, step 4",
        needs="a cluster",
    ),
    PhaseCheck(
        "1.2",
        "S3 from a pod of the stages",
        s3_from_a_pod,
        "compare the role's trust (deploy/aws/roles.yaml) with namespace and service account; is the "
        "annotation on the account?",
        needs="a cluster",
    ),
    PhaseCheck(
        "1.3",
        "a GPU node is provisioned, and nvidia-smi works",
        gpu,
        "`kubectl describe nodepool fraudloop-gpu`; quota for G instances? NVIDIA device plugin? Else"
        " nodes by hand (docs/install.md)",
        needs="a cluster with GPU nodes",
    ),
    PhaseCheck("1.4", "KFP's UI", page, "is deployment ml-pipeline-ui ready?", needs="a cluster"),
    PhaseCheck("1.4", "a hello-world pipeline", hello, "open the run in KFP's UI: the step's events give the reason"),
    PhaseCheck(
        "1.5",
        "an artifact is passed between two steps",
        artifacts,
        "is ConfigMap kfp-launcher (deploy/kfp) in the namespace, and may the role write kfp/?",
    ),
    PhaseCheck(
        "1.4",
        "artifacts are stored in S3",
        stored,
        "set defaultPipelineRoot in ConfigMap kfp-launcher (deploy/kfp/base/artifact-store.yaml)",
        needs="a cluster; here they are files",
    ),
)
