"""Risk features: known frauds of each entity, by the day on which they became known."""

from collections.abc import Sequence

from training.graph.arrays import Array, library
from training.graph.block import RISK_DAYS, SIDES, Block

PRIOR_COUNT = 10.0
WHAT = ("log_matured", "frauds", "fraud_rate")


def risk_names(sides: Sequence[str] = SIDES) -> tuple[str, ...]:
    """Names of the risk features."""
    counted = (f"{side}_{what}_{days}d" for side in sides for what in WHAT for days in RISK_DAYS)
    return (*counted, *(f"{side}_frauds_in_history" for side in sides))


RISK = risk_names()


def risk(block: Block) -> Array:
    """Risk features [B, R] in the order of `risk_names`.

    rate = frauds / (matured + PRIOR_COUNT): shrunk towards 0 by `PRIOR_COUNT` assumed good transactions.
    """
    lib, columns, size = library(block.risk), [], block.risk.shape[1] // len(block.histories)
    for at in range(0, block.risk.shape[1], size):
        matured, frauds = block.risk[:, at : at + size // 2], block.risk[:, at + size // 2 : at + size]
        columns += [lib.log1p(matured), frauds, frauds / (matured + PRIOR_COUNT)]
    columns += [history.label.sum(1)[:, None] for history in block.histories.values()]
    return lib.concatenate(columns, 1)
