"""Runs the stand-in for a cluster as a process: `python -m local.argocd.server STATE MODELS_URI API_PORT PORT`."""

import logging
import signal
import sys
import threading
from pathlib import Path

from local.argocd import ArgoCD, ArgoCDSettings
from local.faults import FILE, Faults


def main(state: Path, models_uri: str, api_port: int, service_port: int) -> None:
    """Serve the Application API and Triton behind its Service until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    spoil = Faults(state / FILE).spoil()
    settings = ArgoCDSettings(models_uri, api_port=api_port, service_port=service_port, spoil=spoil)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with ArgoCD(state, settings):
        stopped.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
