"""The reasons of an answer in words: what of a payment moved its score most, from the head's contributions."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MOST = 5
LEAST = 0.01  # of the log-odds; less is no reason
# What a feature's name ends in, and how it is said of its entity.
WORDS = {
    "gap_1": "time since the last payment of the {side}",
    "gap_2": "time since the last but one payment of the {side}",
    "amount_above": "amount against the {side}'s mean",
    "amount_score": "amount against what is usual for the {side}",
    "amount_spread": "how much the {side}'s amounts differ",
    "amount_recent": "the {side}'s last amounts",
    "online_share": "share of the {side}'s payments that were online",
    "online_recent": "whether the {side}'s last payments were online",
    "category_share": "share of the {side}'s payments in this category",
    "pair_count": "earlier payments with the same entities as this one, of the {side}",
    "pair_gap": "time since the same entities met, of the {side}",
    "seen": "how many payments of the {side} are known",
    "frauds_in_history": "frauds among the {side}'s last payments",
}
COUNTED = {
    "count": "payments of the {side} within {span}",
    "volume": "payments of the {side} on the last days ({span})",
    "log_matured": "judged payments of the {side} ({span})",
    "matured": "judged payments of the {side} ({span})",
    "frauds": "frauds of the {side} ({span})",
    "fraud_rate": "rate of fraud of the {side} ({span})",
}


def reasons(
    names: Sequence[str], inputs: NDArray[np.float32], contributions: NDArray[np.float32], sides: Sequence[str]
) -> list[str]:
    """At most `MOST` reasons, the strongest first, for one payment's `inputs` [D] and their `contributions` [D]."""
    order = np.argsort(-np.abs(contributions), kind="stable")[:MOST]
    return [
        f"{words(names[at], sides)} ({names[at]} = {inputs[at]:.4g}) {'raises' if contributions[at] > 0 else 'lowers'}"
        f" the log-odds of fraud by {abs(contributions[at]):.2f}"
        for at in order
        if abs(contributions[at]) >= LEAST
    ]


def words(name: str, sides: Sequence[str]) -> str:
    """A feature's name in words; the name itself, spaced, if there are no better ones."""
    bare = name.removeprefix("log_")
    for side in sorted(sides, key=len, reverse=True):
        if bare.startswith(f"{side}_"):
            what = bare.removeprefix(f"{side}_")
            kind, _, span = what.rpartition("_")
            told = WORDS.get(what) or COUNTED.get(kind, f"{what.replace('_', ' ')} of the {{side}}")
            return told.format(side=side, span=span)
    return "the graph network's score" if name == "graph_score" else name.replace("_", " ")
