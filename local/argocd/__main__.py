"""`python -m local.argocd --state DIR --models s3://bucket/models/fraud`: the stand-in as a process of its own."""

import argparse
import signal
import threading
from pathlib import Path

from local.argocd import ArgoCD, ArgoCDSettings


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m local.argocd", description="Argo CD and a Deployment, on loopback")
    parser.add_argument("--state", type=Path, required=True, help="folder that survives a restart")
    parser.add_argument("--models", required=True, help="s3://<artifacts bucket>/models/<model>")
    parser.add_argument("--port", type=int, default=0, help="of the Kubernetes API")
    parser.add_argument("--service-port", type=int, default=0, help="of the Service in front of Triton")
    arguments = parser.parse_args()
    settings = ArgoCDSettings(arguments.models, api_port=arguments.port, service_port=arguments.service_port)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with ArgoCD(arguments.state, settings) as argocd:
        print(f"KUBERNETES_API_URL={argocd.api_url}\nTRITON_URL={argocd.service_url}", flush=True)
        stopped.wait()


if __name__ == "__main__":
    main()
