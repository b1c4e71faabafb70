"""Risk features: known frauds of each entity, by the day on which they became known."""

from collections.abc import Sequence

import torch
from torch import Tensor

from training.graph.block import RISK_DAYS, SIDES, Block

PRIOR_COUNT = 10.0
WHAT = ("log_matured", "frauds", "fraud_rate")


def risk_names(sides: Sequence[str] = SIDES) -> tuple[str, ...]:
    """Names of the risk features."""
    counted = (f"{side}_{what}_{days}d" for side in sides for what in WHAT for days in RISK_DAYS)
    return (*counted, *(f"{side}_frauds_in_history" for side in sides))


RISK = risk_names()


def risk(block: Block) -> Tensor:
    """Risk features [B, R] in the order of `risk_names`.

    rate = frauds / (matured + PRIOR_COUNT): shrunk towards 0 by `PRIOR_COUNT` assumed good transactions.
    """
    columns = []
    for counts in block.risk.chunk(len(block.histories), dim=1):
        matured, frauds = counts.chunk(2, dim=1)
        columns += [torch.log1p(matured), frauds, frauds / (matured + PRIOR_COUNT)]
    columns += [history.label.sum(1, keepdim=True) for history in block.histories.values()]
    return torch.cat(columns, dim=1)
