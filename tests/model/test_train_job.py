"""Training on several nodes: a TrainJob that upstream's models accept, waited for with an end, and torchrun itself over
a network of two namespaces.
"""

import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from statemachine.contracts.errors import Unreachable
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from training import storage
from training.model.checkpoint import StoredCheckpoints
from training.model.config import TrainConfig
from training.model.cross_fitting import fit_encoders
from training.model.fit import TrainState
from training.model.train import encoder_states
from training.model.train_job import DEADLINE, RUNTIME, SILENCE, NodeTraining, on_nodes, train_job
from training.model.training_set import prepared
from training.outcome import Permanent, Transient

ROOT = Path(__file__).parents[2]
CONFIG = TrainConfig(nodes=2, processes=3)


class FakeJobs:
    """Trainer's API: jobs by name; `script` is what each look at one answers, the last one again and again."""

    def __init__(self, *script: Any, there: tuple[str, ...] = ()) -> None:
        self.script, self.there = list(script), list(there)
        self.created: list[dict[str, Any]] = []

    def create(self, body: Any) -> None:
        self.created.append(body)
        self.there.append(body["metadata"]["name"])

    def ended(self, name: str) -> tuple[str, str]:
        assert name in self.there
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def delete(self, name: str) -> None:
        self.there = [each for each in self.there if each != name]

    def named(self, label: str) -> list[str]:
        assert label == "fraudloop.io/run=fraud-7"
        return list(self.there)


def order(tmp_path: Path) -> StageRequest:
    inputs = {"dataset": "s3://artifacts/dataset"}
    return StageRequest("fraud-7", "fraud", Stage.TRAIN, 1, "0a1b2c3d-0123456789ab", str(tmp_path), inputs)


def fitted(tmp_path: Path, jobs: FakeJobs) -> list[TrainState]:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    work = NodeTraining(order(tmp_path), jobs, "image@sha256:0", lambda: now[0], sleep)
    unused: Any = None
    return work.fit(tmp_path, unused, CONFIG, StoredCheckpoints(str(tmp_path / "c")), lambda *_: None)


def test_the_job_is_one_that_upstream_accepts(tmp_path: Path) -> None:
    """By the models that Kubeflow generates from its CRDs: types, required fields, and none that they do not know."""
    models = pytest.importorskip("kubeflow_trainer_api.models", reason="kubeflow-trainer-api is not installed")
    body = train_job("train-0a1b2c3d-0123456789ab", "fraud-7", CONFIG, "image", ["a", "b", "c", "d"])
    read = models.TrainerV1alpha1TrainJob.from_dict(body)
    assert read.to_dict() == body
    assert (body["spec"]["trainer"]["numNodes"], body["spec"]["trainer"]["numProcPerNode"]) == (2, 3)
    runtime = yaml.safe_load((ROOT / "deploy/kfp/trainer/runtime.yaml").read_text())
    assert models.TrainerV1alpha1TrainingRuntime.from_dict(runtime).to_dict() == runtime
    assert runtime["metadata"]["name"] == RUNTIME == body["spec"]["runtimeRef"]["name"]
    [replicated] = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    assert replicated["name"] == "node"  # Trainer's name of the trainer's pods and their container
    assert replicated["template"]["metadata"]["labels"] == {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    body["spec"]["trainer"]["numNodes"] = "two"
    with pytest.raises(ValueError, match="numNodes"):
        models.TrainerV1alpha1TrainJob.from_dict(body)


def test_a_misspelled_field_would_be_noticed() -> None:
    """The models drop what they do not know, so the comparison above finds it."""
    models = pytest.importorskip("kubeflow_trainer_api.models", reason="kubeflow-trainer-api is not installed")
    body = train_job("train-x", "fraud-7", CONFIG, "image", [])
    body["spec"]["trainer"]["numNode"] = 2
    assert models.TrainerV1alpha1TrainJob.from_dict(body).to_dict() != body


def test_what_the_job_fitted_is_read_and_the_job_is_gone(tmp_path: Path) -> None:
    """A job of an earlier attempt is deleted first: two at once would take twice the GPUs."""
    state = TrainState(epoch=3, losses=[0.5], best_auc=0.9)
    made = io.BytesIO()
    torch.save([asdict(state)], made)
    storage.write_bytes(str(tmp_path / "nodes/states.pt"), made.getvalue())
    jobs = FakeJobs(("", ""), Unreachable("restarting"), ("Complete", ""), there=("train-earlier",))
    [found] = fitted(tmp_path, jobs)
    assert (found.epoch, found.best_auc) == (3, 0.9)
    assert jobs.there == []
    [body] = jobs.created
    assert body["spec"]["trainer"]["args"] == [
        "s3://artifacts/dataset", f"{tmp_path}/nodes/config.json", f"{tmp_path}/c", f"{tmp_path}/nodes/states.pt"
    ]  # fmt: skip
    assert TrainConfig.from_dict(storage.read_json(str(tmp_path / "nodes/config.json"))) == CONFIG


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ([("", ""), ("Failed", "DeadlineExceeded: too long")], "failed: DeadlineExceeded: too long"),
        ([("", "")], f"did not end within {DEADLINE} s"),
        ([Unreachable("no route")], "no route"),
    ],
)
def test_every_wait_has_an_end(tmp_path: Path, script: list[Any], expected: str) -> None:
    """With the reason, as an error that is tried again; and the job is gone."""
    jobs = FakeJobs(*script)
    with pytest.raises(Transient, match=expected):
        fitted(tmp_path, jobs)
    assert jobs.there == []
    assert SILENCE < DEADLINE


def test_a_pod_that_is_ended_takes_its_job_along(tmp_path: Path) -> None:
    """KFP ends a pod by SIGTERM, which is no exception by itself."""
    jobs = FakeJobs(("", ""))
    work = NodeTraining(order(tmp_path), jobs, "image", time.monotonic, lambda _: os.kill(os.getpid(), 15))
    unused: Any = None
    with pytest.raises(SystemExit):
        work.fit(tmp_path, unused, CONFIG, StoredCheckpoints(str(tmp_path / "c")), lambda *_: None)
    assert jobs.there == []


def test_outside_of_a_cluster_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason, before anything is read."""
    monkeypatch.delenv("FRAUDLOOP_IMAGE", raising=False)
    unused: Any = None
    with pytest.raises(Permanent, match="only possible in a cluster"):
        on_nodes(order(tmp_path))
    with pytest.raises(Permanent, match="only possible in a cluster"):
        encoder_states(tmp_path, unused, CONFIG, unused, unused)


# -- two nodes ------------------------------------------------------------------------------------------------------


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=10)


@contextmanager
def _two_namespaces() -> Iterator[tuple[str, str]]:
    """Two network namespaces with a cable between them; addresses 10.123.0.1 and .2."""
    one, two = (f"fl{os.getpid() % 100_000}{side}" for side in "ab")
    made = []
    try:
        for name in (one, two):
            _ip("netns", "add", name)
            made.append(name)
        _ip("link", "add", one, "netns", one, "type", "veth", "peer", "name", two, "netns", two)
        for number, name in enumerate((one, two), 1):
            _ip("-n", name, "addr", "add", f"10.123.0.{number}/24", "dev", name)
            _ip("-n", name, "link", "set", name, "up")
            _ip("-n", name, "link", "set", "lo", "up")
        yield one, two
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True, timeout=10)


def _why_not() -> str:
    if not shutil.which("ip"):
        return "no `ip` (apt-get install iproute2)"
    try:
        with _two_namespaces():
            return ""
    except (OSError, subprocess.SubprocessError) as error:
        return f"network namespaces cannot be made here (root, CAP_SYS_ADMIN): {type(error).__name__}"


@pytest.mark.xdist_group("torchrun")
def test_two_nodes_agree_with_one(dataset: Path, small: TrainConfig, tmp_path: Path) -> None:
    """torchrun in two network namespaces, told of each other only by the variables that Trainer sets: the encoders are
    those that one process fits, up to rounding.
    """
    if reason := _why_not():
        pytest.skip(reason)
    config = replace(small, dropout=0.0, nodes=2, threads=1)
    settings, out = tmp_path / "config.json", tmp_path / "states.pt"
    storage.write_json(str(settings), config.as_dict())
    command = [sys.executable, "-m", "torch.distributed.run", "-m", "training.model.distributed"]
    arguments = [str(dataset), str(settings), str(tmp_path / "checkpoints"), str(out)]
    with _two_namespaces() as names:
        nodes = []
        for rank, name in enumerate(names):
            told = {"PET_NNODES": "2", "PET_NPROC_PER_NODE": "1", "PET_NODE_RANK": str(rank),
                    "PET_MASTER_ADDR": "10.123.0.1", "PET_MASTER_PORT": "29500", "GLOO_SOCKET_IFNAME": name,
                    "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}  # fmt: skip
            nodes.append(
                subprocess.Popen(
                    ["ip", "netns", "exec", name, *command, *arguments],
                    cwd=ROOT, env={**os.environ, **told}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                )
            )  # fmt: skip
        try:
            outputs = [node.communicate(timeout=240)[0].decode() for node in nodes]
        finally:
            for node in nodes:
                node.kill()
    assert [node.returncode for node in nodes] == [0, 0], outputs
    states = [TrainState(**state) for state in torch.load(out, weights_only=True)]
    alone = fit_encoders(prepared(dataset, config), config, StoredCheckpoints(str(tmp_path / "one")), lambda *_: None)
    for one, two in zip(alone, states, strict=True):
        assert one.epoch == two.epoch
        assert one.best_auc == pytest.approx(two.best_auc, abs=0.01)
