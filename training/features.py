"""The head's inputs: the chosen groups of features, side by side, computed from a block and from nothing else.

Arithmetic is in float64 and only then rounded to the head's float32. A sum in float32 depends a little on how a batch
happens to be laid out, and a boosted tree turns a difference in the last digit into another leaf.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.block import Block
from training.encoder import Encoder
from training.risk import RISK, risk
from training.velocity import VELOCITY, velocity

OWN = ("row", "velocity", "risk")  # the groups that need no encoder, and that encoders are told of a transaction itself
EMBEDDING = ("graph_score",)


def names(row: Sequence[str], groups: Sequence[str]) -> tuple[str, ...]:
    """Names of the head's inputs, in order."""
    parts = {"row": tuple(row), "velocity": VELOCITY, "risk": RISK, "embedding": EMBEDDING}
    return tuple(name for group, part in parts.items() if group in groups for name in part)


def own(block: Block, row: Sequence[str]) -> Tensor:
    """The features of all `OWN` groups [B, D], in the block's precision."""
    return torch.cat([block.row, velocity(block, row), risk(block)], dim=1)


@torch.no_grad()
def graph_score(encoders: Sequence[Encoder], told: Tensor, block: Block) -> Tensor:
    """The embedding as the head sees it [B, 1]: its projection on the classifier, averaged over the cross-fitted encoders."""
    return torch.stack([encoder(told, block)[1] for encoder in encoders], dim=1).mean(1, keepdim=True)


def inputs(
    block: Block, row: Sequence[str], groups: Sequence[str], encoders: Sequence[Encoder], fan_out: int
) -> NDArray[np.float32]:
    """The head's inputs [B, D]; `encoders` are float64 and in evaluation mode."""
    exact = block.double()
    told = own(exact, row)
    everything = names(row, OWN)
    chosen = torch.tensor(
        [everything.index(name) for name in names(row, groups) if name in everything], dtype=torch.long
    )
    parts = [told[:, chosen]]
    if "embedding" in groups:
        parts.append(graph_score(encoders, told, exact.recent(fan_out)))
    return torch.cat(parts, dim=1).float().cpu().numpy()
