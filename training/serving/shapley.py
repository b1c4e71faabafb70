"""Shapley values of groups of input columns, estimated by sampling permutations.

The Shapley value of group g is the mean, over all orders pi of the groups, of what g adds to the groups before it:

    phi_g = E_pi [ f(x restricted to before_pi(g) and g) - f(x restricted to before_pi(g)) ]

Columns outside the restriction are 0. In every order the differences telescope to f(x) - f(0), so the estimates add up
to f(x) - f(0) exactly, for any number of permutations. Štrumbelj & Kononenko 2010. The blueprint's
`ShapleyValueSampling` with a feature mask computes the same.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def shapley_values(
    answer: Callable[[Floats], Floats], values: Floats, mask: NDArray[np.int32], permutations: int, seed: int
) -> Floats:
    """Returns Shapley values [N, F] of the function `answer`: [N, F] → [N] at the rows `values` [N, F].

    Columns with equal numbers in `mask` [F] are one group, whose value is divided evenly among them. Each permutation
    is also used in reverse (antithetic sampling): a group that comes early in one order comes late in the other.
    """
    groups = np.unique(mask)
    rng = np.random.default_rng(seed)
    worth = np.zeros((len(groups), len(values)))  # [G, N] sums of the differences
    for _ in range(permutations):
        order = rng.permutation(len(groups))
        for walk in (order, order[::-1]):
            before = answer(np.zeros_like(values))  # f(0)
            joined = np.zeros(len(mask), dtype=bool)
            for group in walk:
                joined |= mask == groups[group]
                after = answer(np.where(joined, values, np.float32(0)))
                worth[group] += after - before
                before = after
    position = np.searchsorted(groups, mask)  # [F] each column's group
    size = np.bincount(position)[position]  # [F] the number of columns in that group
    return np.asarray((worth / (2 * permutations))[position].T / size, dtype=np.float32)
