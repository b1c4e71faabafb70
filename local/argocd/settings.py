"""The settings of the stand-in."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Spoil = Callable[[Path, str], None]


def leave_alone(_repository: Path, _version: str) -> None:
    """Inject no fault: the default."""


@dataclass(frozen=True)
class ArgoCDSettings:
    """Names as in `[models.<name>.serving]`; `models_uri` is the folder of versions, `s3://<bucket>/models/<model>`.

    Ports of 0 are chosen once and stored in the state folder, so that they survive a restart. `spoil` may damage a
    version's downloaded repository before Triton loads it; only the local system injects such faults.
    """

    models_uri: str
    application: str = "triton-fraud"
    application_namespace: str = "argocd"
    namespace: str = "triton"
    service: str = "triton-fraud-pods"
    api_port: int = 0
    service_port: int = 0
    startup_seconds: float = 120.0
    spoil: Spoil = leave_alone

    def manifest(self) -> dict[str, Any]:
        """Return the Application as an operator would create it, without a version."""
        return {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Application",
            "metadata": {
                "name": self.application,
                "namespace": self.application_namespace,
                "annotations": {"fraudloop.io/owner": "controller"},
            },
            "spec": {
                "project": "default",
                "source": {"repoURL": "local", "path": "deploy/triton", "targetRevision": "HEAD", "kustomize": {}},
                "destination": {"server": "https://kubernetes.default.svc", "namespace": self.namespace},
                "syncPolicy": {"syncOptions": ["ServerSideApply=true"], "retry": {"limit": 2}},
            },
        }
