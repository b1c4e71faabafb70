"""The head's inputs: the chosen groups of features, concatenated, computed from a block and from nothing else.

Arithmetic is in float64 and only then rounded to the head's float32. A sum in float32 depends a little on how a batch
happens to be laid out, and a boosted tree turns a difference in the last digit into another leaf.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.graph.block import Block
from training.graph.risk import RISK, risk
from training.graph.velocity import SOURCES, STATE, VELOCITY, state, velocity
from training.model.config import TrainConfig
from training.model.encoder import Encoders, Width

OWN = ("row", "velocity", "risk")  # the groups that need no encoder; they are also the encoder's own features
EMBEDDING = ("graph_score",)


def names(row: Sequence[str], groups: Sequence[str]) -> tuple[str, ...]:
    """Names of the head's inputs, in order."""
    parts = {"row": tuple(row), "velocity": VELOCITY, "risk": RISK, "embedding": EMBEDDING}
    return tuple(name for group, part in parts.items() if group in groups for name in part)


def own(block: Block, row: Sequence[str]) -> Tensor:
    """The features of all `OWN` groups [B, D] in float64."""
    needed = block.only([row.index(name) for name in SOURCES]).double()
    return torch.cat([block.row.double(), velocity(needed, SOURCES), risk(needed)], dim=1)


@torch.no_grad()
def inputs(
    block: Block, row: Sequence[str], groups: Sequence[str], encoders: Encoders | None, fan_out: int
) -> NDArray[np.float32]:
    """The head's inputs [B, D]; `encoders` are float64 and in evaluation mode, None without the embedding group."""
    own_features = own(block, row)
    everything = names(row, OWN)
    chosen = torch.tensor(
        [everything.index(name) for name in names(row, groups) if name in everything], dtype=torch.long
    )
    parts = [own_features[:, chosen]]
    if encoders is not None:
        parts.append(encoders(own_features, block.recent(fan_out).edges()))
    return torch.cat(parts, dim=1).float().cpu().numpy()


def states_of(block: Block, row: Sequence[str]) -> NDArray[np.float32]:
    """The states [B, S] that later transactions read of these ones."""
    return state(block.only([row.index(name) for name in SOURCES]).double(), SOURCES).float().cpu().numpy()


def width(row: Sequence[str], config: TrainConfig) -> Width:
    """The sizes of an encoder for these row features."""
    return Width(len(names(row, OWN)), len(row) + len(STATE), config.hidden_dim, config.dropout)
