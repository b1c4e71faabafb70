"""The Deployment of one replica: a new version starts beside the old one, which ends when the new one is ready.

A pod that dies is restarted, as a kubelet does. A pod that exits while it starts makes the rollout Degraded.
"""

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from local.argocd.front import Front
from local.triton import Killed
from statemachine.contracts.errors import FraudloopError

PAUSE = 0.5


class Server(Protocol):
    """The process in a pod; `local.triton.Triton` is one."""

    http_port: int

    @property
    def alive(self) -> bool: ...
    def start(self) -> None: ...
    def wait_ready(self, seconds: float, given_up: threading.Event | None) -> None: ...
    def stop(self) -> None: ...


@dataclass
class TritonPod:
    """One server and the version that it loads."""

    name: str
    version: str
    server: Server
    ready: bool = False
    terminating: bool = False


MakePod = Callable[[str, Path], Server]


class Rollout:
    """Keeps the wanted version running behind `front`. `make(version, folder)` makes its server."""

    def __init__(self, front: Front, folder: Path, make: MakePod, startup_seconds: float) -> None:
        self._front = front
        self._folder = folder
        self._make = make
        self._startup_seconds = startup_seconds
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._given_up = threading.Event()
        self._stopped = False
        self._wanted = ""
        self._health = ("Missing", "no version is wanted yet")
        self._pods: list[TritonPod] = []
        self._started = 0
        self._thread = threading.Thread(target=self._run, name="rollout", daemon=True)

    def start(self) -> None:
        """Start to supervise the pods. Remove what an earlier process left, except for the logs."""
        for left in self._folder.glob("*/*"):
            if left.suffix != ".log":
                shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        self._thread.start()

    def stop(self) -> None:
        """End every pod."""
        self._stopped = True
        self._given_up.set()
        self._news.set()
        if self._thread.is_alive():
            self._thread.join()
        for pod in list(self._pods):
            self._end(pod)

    def want(self, version: str) -> None:
        """Roll out `version`. A rollout in progress is cancelled."""
        with self._lock:
            if version == self._wanted:
                return
            self._wanted = version
            self._health = ("Progressing", f"rolling out {version}") if version else ("Missing", "no version is wanted")
            self._given_up.set()
            self._news.set()

    def health(self) -> tuple[str, str]:
        """Return Healthy, Progressing, Degraded or Missing, with the reason."""
        with self._lock:
            return self._health

    def pods(self) -> list[TritonPod]:
        """Return the pods."""
        with self._lock:
            return list(self._pods)

    def _run(self) -> None:
        while not self._stopped:
            self._news.wait(PAUSE)
            self._news.clear()
            with self._lock:
                wanted = self._wanted
                self._given_up.clear()
                refused = self._health[0] == "Degraded"
            self._remove_dead()
            if not self._stopped and not refused and not self._serves(wanted):
                self._roll(wanted)

    def _remove_dead(self) -> None:
        """Remove a dead pod from service, as its readiness probe would. The next pass starts another one."""
        for pod in [pod for pod in self.pods() if pod.ready and not pod.server.alive]:
            self._set_health(pod.version, "Progressing", f"{pod.name} has died")
            self._front.switch(0)
            self._end(pod)

    def _serves(self, version: str) -> bool:
        """Whether a living pod serves `version`. It is then healthy, whatever was tried in between."""
        pods = [pod for pod in self.pods() if pod.ready and not pod.terminating]
        found = [pod.version for pod in pods if pod.server.alive] == ([version] if version else [])
        if found:
            self._set_health(version, "Healthy" if version else "Missing", "")
        return found

    def _roll(self, version: str) -> None:
        if not version:
            for pod in self._switch(None):
                self._end(pod)
            return
        self._started += 1
        folder = self._folder / f"{self._started:03d}-{version}"
        try:
            pod = TritonPod(f"triton-{self._started:03d}-{version}", version, self._make(version, folder))
        except (FraudloopError, OSError, ValueError) as error:
            self._set_health(version, "Degraded", f"{version} could not be fetched: {error}")
            return
        with self._lock:
            self._pods.append(pod)
        self._bring_up(pod)

    def _bring_up(self, pod: TritonPod) -> None:
        try:
            pod.server.start()
            pod.server.wait_ready(self._startup_seconds, self._given_up)
        except Killed:
            self._end(pod)
            return
        except FraudloopError as error:
            self._end(pod)
            self._set_health(pod.version, "Degraded", f"{pod.version} did not become ready: {error}")
            return
        old = self._switch(pod)
        self._set_health(pod.version, "Healthy", "")  # as in Argo CD: terminating pods do not count
        for pod in old:
            self._end(pod)

    def _switch(self, new: TritonPod | None) -> list[TritonPod]:
        """Send requests to `new`. Return the other pods after their last response."""
        old = [pod for pod in self.pods() if pod is not new]
        with self._lock:
            if new is not None:
                new.ready = True
            for pod in old:
                pod.ready, pod.terminating = False, True
        self._front.switch(new.server.http_port if new else 0)
        return old

    def _end(self, pod: TritonPod) -> None:
        pod.server.stop()
        with self._lock:
            self._pods.remove(pod)

    def _set_health(self, version: str, health: str, message: str) -> None:
        """Set the health, unless another version is wanted by now."""
        with self._lock:
            if version == self._wanted:
                self._health = (health, message)


def endpoint_slices(pods: list[TritonPod], service: str, namespace: str) -> list[dict[str, Any]]:
    """Return one EndpointSlice per pod, because pods on loopback differ in the port, which belongs to the slice.

    As the EndpointSlice controller writes them: without a pod one slice with `null`. With publishNotReadyAddresses
    every
    pod is `ready`; `serving` is its readiness, and `terminating` its end.
    """
    return [_slice(pod, service, namespace) for pod in pods] or [_empty(service, namespace)]


def _slice(pod: TritonPod, service: str, namespace: str) -> dict[str, Any]:
    serving = pod.ready or (pod.terminating and pod.server.alive)
    conditions = {"ready": True, "serving": serving, "terminating": pod.terminating}
    reference = {"kind": "TritonPod", "name": pod.name, "namespace": namespace}
    return {
        **_empty(service, namespace, pod.name),
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": conditions, "targetRef": reference}],
        "ports": [{"name": "http", "port": pod.server.http_port, "protocol": "TCP"}],
    }


def _empty(service: str, namespace: str, suffix: str = "empty") -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": service}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{service}-{suffix}", "namespace": namespace, "labels": labels},
        "addressType": "IPv4",
        "endpoints": None,
        "ports": None,
    }
