"""Merchant category codes of the TabFormer file, with their frequencies and typical amounts."""

import numpy as np
from numpy.typing import NDArray

# The most frequent codes: share of all rows in per cent, median amount in dollars. The other ninety share the rest.
COMMON = {
    5411: (11.7, 25.0),
    5499: (11.0, 20.0),
    5541: (10.8, 23.0),
    5812: (7.4, 18.0),
    5912: (5.8, 32.0),
    5300: (4.7, 70.0),
    4829: (4.6, 75.0),
    4784: (4.2, 16.0),
    4121: (4.1, 18.0),
    7538: (3.9, 60.0),
    5814: (3.7, 11.0),
    5942: (2.6, 45.0),
    5311: (2.5, 60.0),
    5815: (2.1, 14.0),
    4814: (1.9, 40.0),
    7996: (1.3, 35.0),
    5310: (1.2, 55.0),
    5651: (1.2, 55.0),
    7832: (1.1, 15.0),
}
# fmt: off
RARE = (
    1711, 3000, 3001, 3005, 3006, 3007, 3008, 3009, 3058, 3066, 3075, 3132, 3144, 3174, 3256, 3260, 3359, 3387, 3389,
    3390, 3393, 3395, 3405, 3504, 3509, 3596, 3640, 3684, 3722, 3730, 3771, 3775, 3780, 4111, 4112, 4131, 4214, 4411,
    4511, 4722, 4899, 4900, 5045, 5094, 5192, 5193, 5211, 5251, 5261, 5400, 5533, 5621, 5655, 5661, 5712, 5719, 5722,
    5732, 5733, 5813, 5816, 5921, 5932, 5941, 5947, 5970, 5977, 6300, 7011, 7210, 7230, 7276, 7349, 7393, 7531, 7542,
    7549, 7801, 7802, 7922, 7995, 8011, 8021, 8041, 8043, 8049, 8062, 8099, 8111, 8931, 9402,
)
# fmt: on
CODES: NDArray[np.int32] = np.array([*COMMON, *RARE], dtype=np.int32)

# Goods that a thief can resell or use at once: department stores, electronics, computers, jewels, travel.
RESALE = frozenset({5311, 5732, 5045, 5094, 5712, 5722, 4411, 3640, 3684, 3722, 4511, 5621})


def shares() -> NDArray[np.float64]:
    """Return the frequency of each of `CODES`; the sum is 1."""
    common = [share for share, _ in COMMON.values()]
    tail = np.linspace(1.8, 0.2, len(RARE))
    raw = np.concatenate([common, tail / tail.sum() * (100 - sum(common))])
    return np.asarray(raw / raw.sum(), dtype=np.float64)


def log_medians() -> NDArray[np.float32]:
    """Return the natural logarithm of the median amount at each of `CODES`; rare codes: $12 to $160 in a fixed
    shuffle.
    """
    common = [median for _, median in COMMON.values()]
    order = np.argsort([code * 7919 % 1009 for code in RARE])
    rare = np.geomspace(12, 160, len(RARE))[order]
    return np.asarray(np.log(np.concatenate([common, rare])), dtype=np.float32)


def resale() -> NDArray[np.bool_]:
    """Return which of `CODES` sell goods that can be resold."""
    return np.isin(CODES, sorted(RESALE))
