"""Risk features: known frauds of each entity, by the day on which they became known."""

import math
from collections.abc import Sequence

from training.graph.arrays import Array, library
from training.graph.block import RISK_DAYS, SIDES, Block, History

PRIOR_COUNT = 10.0
WHAT = ("log_matured", "frauds", "fraud_rate")
HEARD = ("frauds_in_history", "frauds_of_last_known", "fraud_gap")
LAST = 3  # known labels, so that the most recent reports stand out


def risk_names(sides: Sequence[str] = SIDES) -> tuple[str, ...]:
    """Names of the risk features."""
    counted = (f"{side}_{what}_{days}d" for side in sides for what in WHAT for days in RISK_DAYS)
    heard = (f"{side}_{what}" for side in sides for what in HEARD)
    return (*counted, *heard)


def risk(block: Block) -> Array:
    """Risk features [B, R] in the order of `risk_names`.

    rate = frauds / (matured + PRIOR_COUNT): shrunk towards 0 by `PRIOR_COUNT` assumed good transactions.
    """
    lib, columns, size = library(block.risk), [], block.risk.shape[1] // len(block.histories)
    for at in range(0, block.risk.shape[1], size):
        matured, frauds = block.risk[:, at : at + size // 2], block.risk[:, at + size // 2 : at + size]
        columns += [lib.log1p(matured), frauds, frauds / (matured + PRIOR_COUNT)]
    columns += [_heard(history) for history in block.histories.values()]
    return lib.concatenate(columns, 1)


def _heard(history: History) -> Array:
    """From the history's known labels [B, 3]: frauds, frauds among the last known, log seconds since the last fraud.

    The last is −1 without a fraud.
    """
    lib, fraud = library(history.label), history.label > 0
    last = history.matured & (lib.cumsum(history.matured, 1) <= LAST)
    gap = lib.amin(lib.where(fraud, history.gap, math.inf), 1)
    since = lib.where(fraud.any(1), lib.log1p(gap), -1.0)
    return lib.stack([history.label.sum(1), (history.label * last).sum(1), since], 1)
