"""Everything that a check may ask, each client made when it is first needed."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import boto3
import kfp_server_api
from botocore.config import Config
from kubernetes import client

from cli import stack
from clients import kfp, kubernetes
from statemachine.bootstrap import App, bootstrap
from statemachine.contracts.errors import Misconfigured

PATIENCE = (5.0, 30.0)  # seconds to connect, to read
AWS = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "max_attempts": 3})


@dataclass(frozen=True)
class Environment:
    """One deployment: its cluster, its account, its KFP. `wait`: how many seconds a pod or a pipeline may take.

    `local`: it is the system that runs on this machine, which has neither an account nor nodes.
    """

    model: str = "fraud"
    stack: str = ""
    image: str = "public.ecr.aws/aws-cli/aws-cli:2.31.0"
    gpu_image: str = "nvidia/cuda:12.8.1-base-ubuntu24.04"
    monitoring: str = "monitoring"
    parity: str = "parity.json"
    wait: float = 900.0
    pause: float = 5.0
    local: bool = False
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    @cached_property
    def settings(self) -> Mapping[str, str]:
        """What the stack's outputs say; what the environment says counts more (a port-forward's URL, say)."""
        if not self.stack:
            return self.environment
        set_here = {name: value for name, value in self.environment.items() if value}
        return {**stack.settings(self.stack, self.aws("cloudformation")), **set_here}

    def setting(self, name: str) -> str:
        """One of them. Raises `Misconfigured`."""
        if value := self.settings.get(name):
            return value
        raise Misconfigured(f"{name} is not set: name the stack (--stack), or set it")

    @cached_property
    def app(self) -> App:
        """The loop's own parts: ledger, people, pipelines."""
        return bootstrap(self.settings)

    @cached_property
    def api(self) -> client.ApiClient:
        """The Kubernetes API: KUBERNETES_API_URL, else the kubeconfig of the person who asks."""
        return kubernetes.connect(self.environment.get("KUBERNETES_API_URL", ""))

    @property
    def core(self) -> client.CoreV1Api:
        """Pods, nodes, namespaces, services."""
        return client.CoreV1Api(self.api)

    @property
    def objects(self) -> client.CustomObjectsApi:
        """Applications, NodePools, Experiments."""
        return client.CustomObjectsApi(self.api)

    def aws(self, service: str) -> Any:
        """A boto3 client with timeouts."""
        return boto3.client(service, config=AWS)

    @cached_property
    def kfp(self) -> kfp_server_api.ApiClient:
        """KFP's API, with the loop's token if it has one."""
        return kfp.connect(
            self.setting("FRAUDLOOP_KFP_URL"),
            self.settings.get("FRAUDLOOP_KFP_TOKEN", ""),
            self.settings.get("FRAUDLOOP_KFP_CA", ""),
        )

    @property
    def namespace(self) -> str:
        """Where pipelines run."""
        return self.settings.get("FRAUDLOOP_KFP_NAMESPACE") or "kubeflow"

    @property
    def service_account(self) -> str:
        """As whom they run."""
        return self.settings.get("FRAUDLOOP_KFP_SERVICE_ACCOUNT") or "fraudloop-stage"

    def proxied(self, namespace: str, service: str, path: str) -> str:
        """What a Service in the cluster answers, through the API server: what a port-forward would show."""
        ask: Callable[..., Any] = self.core.connect_get_namespaced_service_proxy_with_path
        # Not the client's own reading of the answer: it makes JSON a Python object, and str() of that is no JSON.
        answer = ask(service, namespace, path, _preload_content=False, _request_timeout=PATIENCE)
        return str(answer.data.decode("utf-8", "replace"))
