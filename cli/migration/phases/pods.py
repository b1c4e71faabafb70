"""Runs pods for checks and removes them again in any case."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from kubernetes.client.exceptions import ApiException

from cli.migration.phases.check import CheckFailed
from cli.migration.phases.environment import PATIENCE, Environment


@dataclass(frozen=True)
class Ended:
    """A pod that has ended: its output and its node."""

    log: str
    node: str


def ran(world: Environment, image: str, command: Sequence[str], *, gpu: bool = False, account: str = "") -> Ended:
    """Run `command` in a pod of the pipelines' namespace. Raises `CheckFailed` if it fails or does not end in time."""
    with _pod(world, _manifest(world, image, command, gpu=gpu, account=account)) as name:
        return _ended(world, name)


@contextmanager
def _pod(world: Environment, manifest: dict[str, Any]) -> Iterator[str]:
    name = manifest["metadata"]["name"]
    world.core.create_namespaced_pod(world.namespace, manifest, _request_timeout=PATIENCE)
    try:
        yield name
    finally:
        with suppress(ApiException):
            world.core.delete_namespaced_pod(name, world.namespace, grace_period_seconds=0, _request_timeout=PATIENCE)


def _ended(world: Environment, name: str) -> Ended:
    pod: Any = None

    def look() -> Ended | None:
        nonlocal pod
        pod = world.core.read_namespaced_pod(name, world.namespace, _request_timeout=PATIENCE)
        if pod.status.phase not in ("Succeeded", "Failed"):
            return None
        log = str(world.core.read_namespaced_pod_log(name, world.namespace, _request_timeout=PATIENCE))
        if pod.status.phase == "Failed":
            raise CheckFailed(f"the pod failed: {log[-300:].strip()}")
        return Ended(log, pod.spec.node_name)

    def late() -> CheckFailed:
        return CheckFailed(f"the pod is still {pod.status.phase} after {world.wait:.0f} s: {_why(pod)}")

    return world.poll(look, late)


def _why(pod: Any) -> str:
    conditions = [c.message for c in pod.status.conditions or () if c.status != "True" and c.message]
    return conditions[0] if conditions else "no condition gives a reason"


def _manifest(world: Environment, image: str, command: Sequence[str], *, gpu: bool, account: str) -> dict[str, Any]:
    """Return a pod that the PodSecurity standard `restricted` admits."""
    limits = {"cpu": "500m", "memory": "512Mi", **({"nvidia.com/gpu": "1"} if gpu else {})}
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "check",
                "image": image,
                "command": [*command],
                "env": [{"name": "HOME", "value": "/tmp"}],  # noqa: S108 — a folder in the pod, which has it for itself
                "resources": {"limits": limits},
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
    }
    if account:
        spec["serviceAccountName"] = account
    if gpu:
        spec["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    name = f"fraudloop-check-{uuid.uuid4().hex[:8]}"
    labels = {"app.kubernetes.io/part-of": "fraudloop", "app.kubernetes.io/component": "check"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}
