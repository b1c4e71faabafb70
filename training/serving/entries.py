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
        if not earlier.all():
            owner, entries, gap = owner[earlier], entries[earlier], gap[earlier]
        if ((gap[1:] > gap[:-1]) & (owner[1:] == owner[:-1])).any():
            order = np.lexsort((-gap, owner))
            owner, entries = owner[order], entries[order]
        after = np.searchsorted(owner, owner, side="right") - 1 - np.arange(len(owner))
        recent = after < k
        index = np.full((len(scored), k), len(self.time))  # one past the last entry: all zeros
        index[owner[recent], after[recent]] = entries[recent]
        return self._history(scored[:, None], index)

    def _history(self, target: Numbers, index: Numbers) -> History:
        """The history of the transactions `target` [B, 1] that holds the entries `index` [B, K]."""
        present = index < len(self.time)
        row, state = (np.concatenate([one, np.zeros_like(one[:1])])[index] for one in (self.row, self.state))
        index = np.where(present, index, 0)
        time, now = self.time[index], self.time[target]
        # The label of a transaction of the same day cannot be known yet, whatever the caller says.
        matured = present & self.known[index] & (time // DAY < now // DAY)
        same = np.logical_and.reduce([present, *(key[index] == key[target] for key in self.keys.values())])
        label = (matured & self.fraud[index]).astype(np.float32)
        return History(row, state, ((now - time) * present).astype(np.float32), label, matured, same, present)
