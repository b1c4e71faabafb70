"""The head's inputs: the chosen groups of features, concatenated, computed from a block and from nothing else.

Arithmetic is in float64 and only then rounded to the head's float32. A sum in float32 depends a little on how a batch
happens to be laid out, and a boosted tree turns a difference in the last digit into another leaf.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.graph.arrays import Array, double, library, single
from training.graph.block import SIDES, Block
from training.graph.risk import risk, risk_names
from training.graph.velocity import SOURCES, source_columns, state, state_names, velocity, velocity_names
from training.model.config import TrainConfig
from training.model.encoder import Encoders, Width
from training.model.forward import Forward

OWN = ("row", "velocity", "risk")  # the groups that need no encoder; they are also the encoder's own features
EMBEDDING = ("graph_score",)


def names(row: Sequence[str], groups: Sequence[str], sides: Sequence[str] = SIDES) -> tuple[str, ...]:
    """Names of the head's inputs, in order, for the relations `sides`."""
    own_names = {"row": tuple(row), "velocity": velocity_names(sides), "risk": risk_names(sides)}
    parts = own_names | {"embedding": EMBEDDING}
    return tuple(name for group, part in parts.items() if group in groups for name in part)


def own(block: Block, row: Sequence[str]) -> Array:
    """The features of all `OWN` groups [B, D] in float64."""
    return own_of(block.row, block.only(source_columns(row)))


def own_of(row: Array, needed: Block) -> Array:
    """The same from the row features [B, F] and the block of what velocity and risk need of them (`Reader.needed`)."""
    exact = needed.double()
    return library(row).concatenate([double(row), velocity(exact, SOURCES), risk(exact)], 1)


@torch.no_grad()
def inputs(
    block: Block, row: Sequence[str], groups: Sequence[str], encoders: Encoders | Forward | None, fan_out: int
) -> NDArray[np.float32]:
    """The head's inputs [B, D]; `encoders` are of the block's library, in float64 and in evaluation mode, and None
    without the embedding group.
    """
    recent = block.recent(fan_out)
    read = {} if encoders is None else recent.histories if isinstance(encoders, Forward) else recent.edges()
    return inputs_of(own(block, row), row, groups, encoders, read, block.sides)


@torch.no_grad()
def inputs_of(
    own_features: Array,
    row: Sequence[str],
    groups: Sequence[str],
    encoders: Encoders | Forward | None,
    read: Mapping[str, Any],
    sides: Sequence[str],
) -> NDArray[np.float32]:
    """The same from own features [B, D] in float64 and what the encoders read of each relation: its `Edges` in float64,
    or numpy's its `History`.
    """
    everything = names(row, OWN, sides)
    wanted = [everything.index(name) for name in names(row, groups, sides) if name in everything]
    parts = [own_features[:, wanted]]
    if encoders is not None:
        parts.append(encoders(own_features, read))
    return single(library(own_features).concatenate(parts, 1))


def states_of(block: Block, row: Sequence[str]) -> NDArray[np.float32]:
    """The states [B, S] that later transactions read of these ones."""
    return single(state(block.only(source_columns(row)).double(), SOURCES))


def width(row: Sequence[str], config: TrainConfig, sides: Sequence[str] = SIDES) -> Width:
    """The sizes of an encoder for these row features and relations."""
    own_width, neighbour = len(names(row, OWN, sides)), len(row) + len(state_names(sides))
    return Width(own_width, neighbour, config.hidden_dim, config.dropout, tuple(sides))
