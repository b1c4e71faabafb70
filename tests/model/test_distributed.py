"""Data-parallel training: real processes over gloo on this machine."""

from dataclasses import replace
from pathlib import Path

import pytest

from training.model.checkpoint import StoredCheckpoints
from training.model.config import TrainConfig
from training.model.cross_fitting import fit_encoders
from training.model.distributed import fit_encoders_together
from training.model.fit import DistributedContext, TrainState, batches
from training.model.seeds import Seeds
from training.model.training_set import prepared


def test_processes_share_the_same_batches(small: TrainConfig) -> None:
    """Together the shares of two processes are one process's batches: no seed twice, and none left out."""
    import torch

    seeds = Seeds(torch.arange(1000), torch.zeros(1000), 1.0)
    alone = list(batches(seeds, small, TrainState(), DistributedContext()))
    halves = [list(batches(seeds, small, TrainState(), DistributedContext(rank, 2))) for rank in (0, 1)]
    for whole, one, two in zip(alone, *halves, strict=True):
        assert len(one) == len(two)
        assert sorted([*one.tolist(), *two.tolist()]) == sorted(whole.tolist())


@pytest.mark.xdist_group("torchrun")
def test_two_processes_agree_with_one(dataset: Path, small: TrainConfig, tmp_path: Path) -> None:
    """Without dropout, batches and gradients are the same up to rounding, so validation AUC agrees closely."""
    config = replace(small, dropout=0.0, processes=2)
    together = fit_encoders_together(dataset, config, StoredCheckpoints(str(tmp_path / "two")), lambda *_: None)
    alone = fit_encoders(prepared(dataset, config), config, StoredCheckpoints(str(tmp_path / "one")), lambda *_: None)
    for one, two in zip(alone, together, strict=True):
        assert one.epoch == two.epoch
        assert one.best_auc == pytest.approx(two.best_auc, abs=0.01)
        assert set(one.best) == set(two.best)
