"""Data-parallel fitting of the encoders: `torchrun` starts the processes, DistributedDataParallel joins their
gradients.

`python -m torch.distributed.run --nproc-per-node 2 -m training.model.distributed DATASET CONFIG CHECKPOINTS OUT`,
all of them paths or `s3://` URIs. Every process prepares the same training set and takes its share of every batch.
Process 0 writes the checkpoints and the result. On several nodes (`training.model.train_job`) it is the same program.
"""

import io
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from training import storage
from training.model.checkpoint import StoredCheckpoints
from training.model.config import TrainConfig
from training.model.cross_fitting import fit_encoders
from training.model.fit import DistributedContext, Progress, TrainState
from training.model.training_set import prepared
from training.outcome import Transient


def fit_encoders_together(
    dataset: Path, config: TrainConfig, checkpoints: StoredCheckpoints, progress: Progress
) -> list[TrainState]:
    """Trains the encoders with `config.processes` processes on this machine.

    Raises:
        Transient: a process died; its checkpoints stay.
    """
    with tempfile.TemporaryDirectory(prefix="fraudloop-torchrun-") as scratch:
        settings, out = f"{scratch}/config.json", f"{scratch}/states.pt"
        storage.write_json(settings, config.as_dict())
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={config.processes}"]
        module = ["-m", "training.model.distributed"]
        command = [sys.executable, *launcher, *module, str(dataset), settings, checkpoints.folder, out]
        ended = subprocess.run(command, env=_environment(config), check=False)
        if ended.returncode:
            raise Transient(f"torchrun with {config.processes} processes ended with {ended.returncode}")
        states = [TrainState(**state) for state in torch.load(out, weights_only=True)]
    for number, state in enumerate(states):
        progress(f"encoder-{number}", {"epoch": state.epoch, "loss": state.losses[-1], "val_auc_roc": state.best_auc})
    return states


def main(dataset: str, settings: str, checkpoints: str, out: str) -> None:
    """One of the training processes."""
    config = TrainConfig.from_dict(storage.read_json(settings))
    scratch = tempfile.TemporaryDirectory(prefix="fraudloop-node-")
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        training_set = prepared(storage.local(dataset, Path(scratch.name) / "dataset"), config)
        states = fit_encoders(
            training_set, config, StoredCheckpoints(checkpoints), lambda event, metrics: None, _context()
        )
        if dist.get_rank() == 0:
            made = io.BytesIO()
            torch.save([asdict(state) for state in states], made)
            storage.write_bytes(out, made.getvalue(), intermediate=True)
        dist.barrier()
    finally:
        dist.destroy_process_group()
        scratch.cleanup()


def _context() -> DistributedContext:
    return DistributedContext(dist.get_rank(), dist.get_world_size(), _wrapped, _agreed)


def _wrapped(module: nn.Module) -> nn.Module:
    device = next(module.parameters()).device
    return DistributedDataParallel(module, device_ids=[device] if device.type == "cuda" else None)


def _agreed(value: float) -> float:
    """Process 0's value for all processes: they must stop at the same epoch."""
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def _environment(config: TrainConfig) -> dict[str, str]:
    """Processes share the cores: without a limit each would take all of them."""
    threads = config.threads or max(1, (os.cpu_count() or 1) // config.processes)
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}


if __name__ == "__main__":
    main(*sys.argv[1:])
