"""From transactions as arrays to the block that the model is computed from: what a request's lines and a store say."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.graph.block import DAY, History

Numbers = NDArray[np.intp]


@dataclass(frozen=True)
class Entries:
    """N transactions: those to be scored, and those of their histories, in any order.

    `row` [N, F] and `state` [N, S] float32; `time` [N] in seconds; `keys` [N] by relation; `known` [N]: the label is
    known; `fraud` [N]: and it says fraud.
    """

    row: NDArray[np.float32]
    state: NDArray[np.float32]
    time: NDArray[np.int64]
    keys: Mapping[str, NDArray[np.int64]]
    known: NDArray[np.bool_]
    fraud: NDArray[np.bool_]

    def history(self, scored: Numbers, owner: Numbers, entries: Numbers, k: int) -> History:
        """The `k` last strictly earlier entries of each transaction, of one relation.

        `scored` [B]: the transactions' numbers. `entries` [H]: numbers of what their histories hold, from old to new
        where times are equal; `owner` [H]: whose each one is, from 0 to B − 1.
        """
        gap = self.time[scored][owner] - self.time[entries]
        earlier = gap > 0
        owner, entries, gap = owner[earlier], entries[earlier], gap[earlier]
        order = np.lexsort((-gap, owner))
        owner, entries, gap = owner[order], entries[order], gap[order]
        after = np.searchsorted(owner, owner, side="right") - 1 - np.arange(len(owner))
        recent = after < k
        owner, entries, gap, at = owner[recent], entries[recent], gap[recent], (owner[recent], after[recent])
        target = scored[owner]
        # The label of a transaction of the same day cannot be known yet, whatever the caller says.
        matured = self.known[entries] & (self.time[entries] // DAY < self.time[target] // DAY)
        found = {
            "row": self.row[entries],
            "state": self.state[entries],
            "gap": gap.astype(np.float32),
            "label": (matured & self.fraud[entries]).astype(np.float32),
            "matured": matured,
            "same": np.logical_and.reduce([key[entries] == key[target] for key in self.keys.values()]),
            "present": np.ones(len(entries), dtype=bool),
        }
        return History(**{name: placed(len(scored), k, at, values) for name, values in found.items()})


def placed(rows: int, k: int, at: tuple[Numbers, Numbers], values: NDArray) -> NDArray:  # type: ignore[type-arg]
    """Zeros [B, K, …] with `values` at the positions `at`."""
    full = np.zeros((rows, k, *values.shape[1:]), dtype=values.dtype)
    full[at] = values
    return full
