"""Starts and stops the whole stand-in: API server, controller, Deployment and Service."""

import json
import logging
import threading
from pathlib import Path

from werkzeug.serving import make_server

from local.argocd.access import KubernetesAccess
from local.argocd.api import application
from local.argocd.front import Front
from local.argocd.record import ApplicationRecord
from local.argocd.rollout import MakePod, Rollout, Server, endpoint_slices
from local.argocd.settings import ArgoCDSettings
from local.argocd.syncer import Syncer
from local.triton import Triton
from training import storage
from training.ports import LOOPBACK, free_port
from training.serving.fetch import fetch


class ArgoCD:
    """The stand-in on loopback, with its state in one folder."""

    def __init__(self, state: Path, settings: ArgoCDSettings, make: MakePod | None = None) -> None:
        self._settings = settings
        self._ports = _ports(state / "ports.json", settings)
        self.access = KubernetesAccess()
        self.record = ApplicationRecord(state / "application.json", settings.manifest())
        self.front = Front(self._ports["service"])
        self.rollout = Rollout(self.front, state / "pods", make or self._triton, settings.startup_seconds)
        self.syncer = Syncer(self.record, self.rollout)
        logging.getLogger("werkzeug").setLevel(logging.WARNING)
        app = application(settings, self.record, self._slices, self.access)
        self._api = make_server(LOOPBACK, self._ports["api"], app, threaded=True)
        self._thread = threading.Thread(target=self._api.serve_forever, name="argocd-api", daemon=True)

    @property
    def api_url(self) -> str:
        """The value for `KUBERNETES_API_URL`."""
        return f"http://{LOOPBACK}:{self._ports['api']}"

    @property
    def service_url(self) -> str:
        """The URL for clients, which serves the current version."""
        return f"http://{LOOPBACK}:{self.front.port}"

    def start(self) -> None:
        """Start everything. The version from before a restart is served again as soon as it is ready."""
        self.front.start()
        self.rollout.start()
        self.syncer.start()
        self._thread.start()

    def stop(self) -> None:
        """Stop everything, the pods last."""
        self.syncer.stop()
        if self._thread.is_alive():
            self._api.shutdown()
        self._api.server_close()
        self.rollout.stop()
        self.front.stop()

    def __enter__(self) -> "ArgoCD":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _slices(self) -> list[dict[str, object]]:
        return endpoint_slices(self.rollout.pods(), self._settings.service, self._settings.namespace)

    def _triton(self, version: str, folder: Path) -> Server:
        """Return a pod as in `deploy/triton`: fetch the version, then start Triton with it."""
        repository = fetch(storage.join(self._settings.models_uri, version), folder / "repository")
        self._settings.spoil(repository, version)
        return Triton(repository, folder)


def _ports(file: Path, settings: ArgoCDSettings) -> dict[str, int]:
    """Return the ports of this state folder, which are chosen once."""
    ports: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
    chosen = {
        "api": settings.api_port or ports.get("api") or free_port(),
        "service": settings.service_port or ports.get("service") or free_port(),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(chosen))
    return chosen
