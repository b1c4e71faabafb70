"""Data-parallel fitting of the encoders: `torchrun` starts the processes, DistributedDataParallel joins their
gradients.

`python -m torch.distributed.run --nproc-per-node 2 -m training.model.distributed DATASET CONFIG CHECKPOINTS OUT`. Every
process prepares the same lesson and takes its share of every batch; process 0 keeps the checkpoints and writes the
trails.
"""

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
    """The trails of `config.processes` processes on this machine.

    Raises:
        Transient: a process died; its checkpoints stay.
    """
    with tempfile.TemporaryDirectory(prefix="fraudloop-torchrun-") as scratch:
        told, out = f"{scratch}/config.json", f"{scratch}/trails.pt"
        storage.write_json(told, config.as_dict())
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={config.processes}"]
        module = ["-m", "training.model.distributed"]
        command = [sys.executable, *launcher, *module, str(dataset), told, checkpoints.folder, out]
        ended = subprocess.run(command, env=_environment(config), check=False)
        if ended.returncode:
            raise Transient(f"torchrun with {config.processes} processes ended with {ended.returncode}")
        trails = [TrainState(**trail) for trail in torch.load(out, weights_only=True)]
    for number, trail in enumerate(trails):
        progress(f"encoder-{number}", {"epoch": trail.epoch, "loss": trail.losses[-1], "val_auc_roc": trail.best_auc})
    return trails


def main(dataset: str, told: str, checkpoints: str, out: str) -> None:
    """One process of the team."""
    config = TrainConfig.from_dict(storage.read_json(told))
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        lesson = prepared(Path(dataset), config)
        trails = fit_encoders(lesson, config, StoredCheckpoints(checkpoints), lambda event, figures: None, _team())
        if dist.get_rank() == 0:
            torch.save([asdict(trail) for trail in trails], out)
        dist.barrier()
    finally:
        dist.destroy_process_group()


def _team() -> DistributedContext:
    return DistributedContext(dist.get_rank(), dist.get_world_size(), _wrapped, _agreed)


def _wrapped(module: nn.Module) -> nn.Module:
    device = next(module.parameters()).device
    return DistributedDataParallel(module, device_ids=[device] if device.type == "cuda" else None)


def _agreed(figure: float) -> float:
    """Process 0's figure: all must stop at the same epoch."""
    told = [figure]
    dist.broadcast_object_list(told, src=0)
    return told[0]


def _environment(config: TrainConfig) -> dict[str, str]:
    """Processes share the cores: without a limit each would take all of them."""
    threads = config.threads or max(1, (os.cpu_count() or 1) // config.processes)
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}


if __name__ == "__main__":
    main(*sys.argv[1:])
