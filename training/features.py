"""The head's inputs: the chosen groups of features, side by side, computed from a block and from nothing else.

Arithmetic is in float64 and only then rounded to the head's float32. A sum in float32 depends a little on how a batch
happens to be laid out, and a boosted tree turns a difference in the last digit into another leaf.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.encoder import Encoder
from training.history import Block, doubled
from training.risk import RISK, risk
from training.velocity import VELOCITY, velocity


def names(row: Sequence[str], groups: Sequence[str], hidden: int) -> tuple[str, ...]:
    """Names of the head's inputs, in order."""
    parts = {
        "row": tuple(row),
        "velocity": VELOCITY,
        "risk": RISK,
        "embedding": tuple(f"embedding_{number}" for number in range(hidden)),
    }
    return tuple(name for group in parts if group in groups for name in parts[group])


@torch.no_grad()
def inputs(
    block: Block, row: Sequence[str], groups: Sequence[str], encoder: Encoder | None, fan_out: int
) -> NDArray[np.float32]:
    """The head's inputs [B, D]; `encoder` is a float64 one in evaluation mode."""
    exact = doubled(block)
    parts: list[Tensor] = []
    if "row" in groups:
        parts.append(exact.row)
    if "velocity" in groups:
        parts.append(velocity(exact, row))
    if "risk" in groups:
        parts.append(risk(exact))
    if "embedding" in groups:
        if encoder is None:
            raise ValueError("the embedding group needs an encoder")
        parts.append(encoder(exact.recent(fan_out))[0])
    return torch.cat(parts, dim=1).float().cpu().numpy()
