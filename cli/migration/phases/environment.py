"""The clients that checks use, each created at its first use."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import boto3
import kfp_server_api
from botocore.config import Config
from kubernetes import client

from cli import stack
from clients import kfp, kubernetes
from statemachine.bootstrap import App, bootstrap
from statemachine.contracts.errors import Misconfigured

PATIENCE = (5.0, 30.0)  # seconds to connect, and to read
AWS = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "max_attempts": 3})


T = TypeVar("T")


@dataclass(frozen=True)
class Environment:
    """One deployment: its cluster, account and KFP. `wait`: seconds that a pod or a pipeline may take.

    `local`: the deployment is the system on this machine, which has neither an AWS account nor nodes.
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
        """The stack's outputs. Variables of the environment override them (the URL of a port-forward, for example)."""
        if not self.stack:
            return self.environment
        set_here = {name: value for name, value in self.environment.items() if value}
        return {**stack.settings(self.stack, self.aws("cloudformation")), **set_here}

    def setting(self, name: str) -> str:
        """Return one setting. Raises `Misconfigured`."""
        if value := self.settings.get(name):
            return value
        raise Misconfigured(f"{name} is not set: name the stack (--stack), or set it")

    @cached_property
    def app(self) -> App:
        """The controller's own parts: store, operations, pipelines."""
        return bootstrap(self.settings)

    @cached_property
    def api(self) -> client.ApiClient:
        """The Kubernetes API: KUBERNETES_API_URL, else the user's kubeconfig."""
        return kubernetes.connect(self.environment.get("KUBERNETES_API_URL", ""))

    @property
    def core(self) -> client.CoreV1Api:
        """The client for pods, nodes, namespaces and services."""
        return client.CoreV1Api(self.api)

    @property
    def objects(self) -> client.CustomObjectsApi:
        """The client for Applications, NodePools and Experiments."""
        return client.CustomObjectsApi(self.api)

    def aws(self, service: str) -> Any:
        """Return a boto3 client with timeouts."""
        return boto3.client(service, config=AWS)

    @cached_property
    def kfp(self) -> kfp_server_api.ApiClient:
        """KFP's API, with the controller's token if it has one."""
        return kfp.connect(
            self.setting("FRAUDLOOP_KFP_URL"),
            self.settings.get("FRAUDLOOP_KFP_TOKEN", ""),
            self.settings.get("FRAUDLOOP_KFP_CA", ""),
        )

    @property
    def namespace(self) -> str:
        """The namespace of the pipelines."""
        return self.settings.get("FRAUDLOOP_KFP_NAMESPACE") or "kubeflow"

    @property
    def service_account(self) -> str:
        """The service account of the pipelines."""
        return self.settings.get("FRAUDLOOP_KFP_SERVICE_ACCOUNT") or "fraudloop-stage"

    def poll(self, look: Callable[[], T | None], late: Callable[[], Exception]) -> T:
        """Return the first result of `look` that is not None. Raises `late()` after `wait` seconds without one."""
        until = time.monotonic() + self.wait
        while (found := look()) is None:
            if time.monotonic() > until:
                raise late()
            time.sleep(self.pause)
        return found

    def proxied(self, namespace: str, service: str, path: str) -> str:
        """Return a Service's response through the API server, as a port-forward would."""
        ask: Callable[..., Any] = self.core.connect_get_namespaced_service_proxy_with_path
        # The client would parse JSON into a Python object, and str() of that is no JSON. So read the bytes.
        answer = ask(service, namespace, path, _preload_content=False, _request_timeout=PATIENCE)
        return str(answer.data.decode("utf-8", "replace"))
