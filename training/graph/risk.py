"""Risk features: known frauds of the card and of the merchant, after the label delay."""

import torch
from torch import Tensor

from training.graph.block import RISK_DAYS, SIDES, Block

PRIOR_COUNT = 10.0
RISK = tuple(
    f"{side}_{what}_{days}d" for side in SIDES for what in ("log_matured", "frauds", "fraud_rate") for days in RISK_DAYS
) + tuple(f"{side}_frauds_in_history" for side in SIDES)


def risk(block: Block) -> Tensor:
    """Risk features [B, R] in the order of `RISK`.

    rate = frauds / (matured + PRIOR_COUNT): shrunk towards 0 by `PRIOR_COUNT` assumed good transactions.
    """
    columns = []
    for counts in block.risk.chunk(len(SIDES), dim=1):
        matured, frauds = counts.chunk(2, dim=1)
        columns += [torch.log1p(matured), frauds, frauds / (matured + PRIOR_COUNT)]
    columns += [getattr(block, side).label.sum(1, keepdim=True) for side in SIDES]
    return torch.cat(columns, dim=1)
