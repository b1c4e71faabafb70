"""Fits the encoders on several nodes: as a TrainJob of Kubeflow Trainer, which starts torchrun in each of its pods.

The train stage's own pod submits the job, waits for it, and goes on with the head. `deploy/kfp/trainer` holds the
runtime and the rights that this takes. Off unless `nodes` in the train parameters is above 1.
"""

import io
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from clients.kubernetes import connect
from clients.train_jobs import TrainJobs
from statemachine.contracts.errors import Unreachable
from statemachine.contracts.stage_request import StageRequest
from training import storage
from training.model.checkpoint import StoredCheckpoints
from training.model.config import TrainConfig
from training.model.fit import Progress, TrainingSet, TrainState
from training.outcome import Permanent, Transient

LOG = logging.getLogger("fraudloop.train")
API_VERSION = "trainer.kubeflow.org/v1alpha1"
RUNTIME = "fraudloop-torch"
RUN = "fraudloop.io/run"
POLL = 10.0  # seconds
SILENCE = 300.0  # seconds that the API may fail to answer
DEADLINE = 14_400  # seconds, the train stage's own: the job ends then even if its stage's pod is gone
NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
PASSED_ON = ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "OMP_WAIT_POLICY")


class JobClient(Protocol):
    """The TrainJobs of one namespace. Each method raises what `clients.train_jobs.TrainJobs` raises."""

    def create(self, body: Mapping[str, Any]) -> None:
        """Submit one; one of this name that is there already is no error."""

    def ended(self, name: str) -> tuple[str, str]:
        """`Complete` or `Failed` with the reason; "" while it runs."""

    def delete(self, name: str) -> None:
        """Delete one with its pods; one that is gone is no error."""

    def named(self, label: str) -> list[str]:
        """Those with that label."""


@dataclass(frozen=True)
class NodeTraining:
    """Fits the encoders of one launch of the train stage on `config.nodes` nodes."""

    order: StageRequest
    jobs: JobClient
    image: str
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    @property
    def name(self) -> str:
        """The job's name, which is also a DNS label: the launch's."""
        return f"train-{self.order.launch_id}"[:50].rstrip("-")

    def fit(
        self, _: Path, __: TrainingSet, config: TrainConfig, checkpoints: StoredCheckpoints, progress: Progress
    ) -> list[TrainState]:
        """Submits the job, waits for it, and reads what it fitted. The job is gone afterwards, however that ends.

        Raises:
            Transient: it failed, took longer than `DEADLINE`, or the API did not answer; its checkpoints stay.
        """
        settings, out = (storage.join(self.order.output_uri, "nodes", name) for name in ("config.json", "states.pt"))
        storage.write_json(settings, config.as_dict())
        run = self.order.run_id
        for other in self.jobs.named(f"{RUN}={run}"):  # an earlier attempt's, whose pod died: no two of them at once
            if other != self.name:
                self.jobs.delete(other)
        with _ending_on_sigterm():
            try:
                arguments = [self.order.inputs["dataset"], settings, checkpoints.folder, out]
                self.jobs.create(train_job(self.name, run, config, self.image, arguments))
                self._wait()
            finally:
                self.jobs.delete(self.name)
        states = [TrainState(**each) for each in torch.load(io.BytesIO(storage.read_bytes(out)), weights_only=True)]
        for number, state in enumerate(states):
            progress(f"encoder-{number}", {"epoch": state.epoch, "val_auc_roc": state.best_auc})
        return states

    def _wait(self) -> None:
        begun = answered = self.clock()
        while True:
            now = self.clock()
            try:
                end, reason = self.jobs.ended(self.name)
                answered = now
            except Unreachable as error:
                if now - answered > SILENCE:
                    raise Transient(f"TrainJob {self.name}: {error}") from error
                end, reason = "", ""
            if end == "Complete":
                return
            if end:
                raise Transient(f"TrainJob {self.name} failed: {reason}")
            if now - begun > DEADLINE:
                raise Transient(f"TrainJob {self.name} did not end within {DEADLINE} s")
            self.sleep(POLL)


def train_job(name: str, run: str, config: TrainConfig, image: str, arguments: list[str]) -> dict[str, Any]:
    """The TrainJob. Trainer gives each pod torchrun's PET_ variables: nodes, processes, rank, master."""
    environment = {key: os.environ[key] for key in PASSED_ON if key in os.environ}
    if config.threads:
        environment["OMP_NUM_THREADS"] = str(config.threads)
    command = ["python", "-m", "torch.distributed.run", "-m", "training.model.distributed"]
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainJob",
        "metadata": {"name": name, "labels": {RUN: run, "app.kubernetes.io/part-of": "fraudloop"}},
        "spec": {
            "activeDeadlineSeconds": DEADLINE,
            "runtimeRef": {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": RUNTIME},
            "trainer": {
                "image": image,
                "command": command,
                "args": arguments,
                "numNodes": config.nodes,
                "numProcPerNode": config.processes,
                "env": [{"name": key, "value": value} for key, value in sorted(environment.items())],
            },
        },
    }


def on_nodes(order: StageRequest) -> NodeTraining:
    """`NodeTraining` of a stage's pod.

    Raises:
        Permanent: this is no pod, its image is not known, or the data set is not in S3.
    """
    image = os.environ.get("FRAUDLOOP_IMAGE", "")
    if not image or not NAMESPACE.is_file():
        raise Permanent("train: nodes is above 1, which takes Kubeflow Trainer: it is only possible in a cluster")
    if not storage.is_s3(order.inputs["dataset"]):
        raise Permanent("train: nodes is above 1, so the data set has to lie where all nodes reach it: in S3")
    return NodeTraining(order, TrainJobs(connect(in_pod=True), NAMESPACE.read_text().strip()), image)


@contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """Turns SIGTERM, by which KFP ends a pod, into an exception, so that the job does not outlive its stage."""

    def end(*_: object) -> None:
        raise SystemExit(143)

    former = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)
