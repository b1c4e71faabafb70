"""Hand-made velocity features: how fast, how much and how unusual, from the last K transactions and the volumes.

The same function serves training, the baselines and the server. Counts from the last K saturate at K.
"""

import math
from collections.abc import Callable, Sequence

from training.graph.arrays import Array, library
from training.graph.block import DAY, SIDES, VOLUME_DAYS, Block, History

HOUR = 3_600
BURSTS = {"1h": HOUR, "6h": 6 * HOUR, "3d": 72 * HOUR}
AMOUNT, CATEGORY, ONLINE = SOURCES = ("amount_log", "mcc_code", "online")  # the row features that velocity uses


def source_columns(features: Sequence[str]) -> list[int]:
    """Where `SOURCES` are among a model's row features: the amount, the first code of a category, the online channel.

    -1 is a feature that the model's declaration does not give; it counts as 0.
    """
    codes = [name for name in features if name == CATEGORY or name.endswith("_code")]
    wanted = (AMOUNT, CATEGORY if CATEGORY in features else next(iter(codes), ""), ONLINE)
    return [features.index(name) if name in features else -1 for name in wanted]


def velocity(block: Block, features: Sequence[str]) -> Array:
    """Velocity features [B, V] in the order of `velocity_names`."""
    amount, width = block.row[:, [features.index(AMOUNT)]], 2 * len(VOLUME_DAYS)
    columns = [_windows(block.volume[:, at : at + width], amount) for at in range(0, block.volume.shape[1], width)]
    columns += [_side(block.row, history, features) for history in block.histories.values()]
    return library(block.volume).concatenate(columns, 1)


def state(block: Block, features: Sequence[str]) -> Array:
    """The velocity features [B, S] that later transactions read of these, by `state_names`; no counts."""
    measured = _state(block.sides)
    columns = [_MEASURES[name](block.row, block.histories[side], features) for side, name in measured]
    return library(block.row).stack(columns, 1)


def _windows(volume: Array, amount: Array) -> Array:
    """Log counts, log mean amounts and how far above these the amount is [B, 9], of one relation."""
    of, half = library(volume), len(VOLUME_DAYS)
    count, total = volume[:, :half], volume[:, half:]
    mean = total / count.clip(1)
    mean = of.sign(mean) * of.log1p(of.abs(mean))
    return of.concatenate([of.log1p(count), mean, amount - mean], 1)


def _side(row: Array, history: History, features: Sequence[str]) -> Array:
    return library(row).stack([measure(row, history, features) for measure in _MEASURES.values()], 1)


def _burst(seconds: int) -> Callable[[Array, History, Sequence[str]], Array]:
    return lambda row, history, features: (history.present & (history.gap <= seconds)).sum(1, dtype=row.dtype)


def _since(rank: int) -> Callable[[Array, History, Sequence[str]], Array]:
    """log(1 + seconds) since the rank-th last transaction, −1 if there is none."""

    def gap(row: Array, history: History, features: Sequence[str]) -> Array:
        lib = library(row)
        if rank >= history.gap.shape[1]:
            return lib.full_like(row[:, 0], -1.0)
        return lib.where(history.present[:, rank], lib.log1p(history.gap[:, rank]), -1.0)

    return gap


def _past(history: History, column: int) -> tuple[Array, Array]:
    """Mean and standard deviation [B] of one row feature over the history; zeros without one."""
    count = history.present.sum(1).clip(1)
    value = history.row[:, :, column]
    mean = value.sum(1) / count
    spread = ((value - mean[:, None]) ** 2 * history.present).sum(1) / count
    return mean, library(spread).sqrt(spread)


def _amount_above(row: Array, history: History, features: Sequence[str]) -> Array:
    column = features.index(AMOUNT)
    return row[:, column] - _past(history, column)[0]


def _amount_score(row: Array, history: History, features: Sequence[str]) -> Array:
    column = features.index(AMOUNT)
    mean, spread = _past(history, column)
    return (row[:, column] - mean) / (spread + 0.25)


def _amount_spread(row: Array, history: History, features: Sequence[str]) -> Array:
    return _past(history, features.index(AMOUNT))[1]


def _amount_recent(row: Array, history: History, features: Sequence[str]) -> Array:
    """Mean over the last three."""
    return _past(history.recent(3), features.index(AMOUNT))[0]


def _amount_over_max(row: Array, history: History, features: Sequence[str]) -> Array:
    """How far above the largest of the history, 0 without one."""
    column, lib = features.index(AMOUNT), library(row)
    largest = lib.amax(lib.where(history.present, history.row[:, :, column], -math.inf), 1)
    return lib.where(history.present.any(1), row[:, column] - largest, 0.0)


def _large_recent(row: Array, history: History, features: Sequence[str]) -> Array:
    """How many of the last 14 days were e times the history's mean or more: a stolen card is used more than once."""
    column = features.index(AMOUNT)
    large = history.row[:, :, column] > _past(history, column)[0][:, None] + 1
    return (large & history.present & (history.gap <= 14 * DAY)).sum(1, dtype=row.dtype)


def _online_share(row: Array, history: History, features: Sequence[str]) -> Array:
    return _past(history, features.index(ONLINE))[0]


def _online_recent(row: Array, history: History, features: Sequence[str]) -> Array:
    return _past(history.recent(3), features.index(ONLINE))[0]


def _category_share(row: Array, history: History, features: Sequence[str]) -> Array:
    """Share of the history in the same merchant category."""
    column = features.index(CATEGORY)
    alike = (history.row[:, :, column] == row[:, None, column]) & history.present
    return alike.sum(1, dtype=row.dtype) / history.present.sum(1).clip(1)


def _pair_count(row: Array, history: History, features: Sequence[str]) -> Array:
    return history.same.sum(1, dtype=row.dtype)


def _pair_gap(row: Array, history: History, features: Sequence[str]) -> Array:
    """log(1 + seconds) since this card last paid at this merchant, −1 if not within the history."""
    lib = library(row)
    gap = lib.amin(lib.where(history.same, history.gap, math.inf), 1)
    return lib.where(history.same.any(1), lib.log1p(gap), -1.0)


def _seen(row: Array, history: History, features: Sequence[str]) -> Array:
    return history.present.sum(1, dtype=row.dtype)


_MEASURES: dict[str, Callable[[Array, History, Sequence[str]], Array]] = {
    **{f"count_{name}": _burst(seconds) for name, seconds in BURSTS.items()},
    **{f"gap_{rank + 1}": _since(rank) for rank in (0, 1, 3, 9)},
    "amount_above": _amount_above,
    "amount_score": _amount_score,
    "amount_spread": _amount_spread,
    "amount_recent": _amount_recent,
    "amount_over_max": _amount_over_max,
    "large_recent": _large_recent,
    "online_share": _online_share,
    "online_recent": _online_recent,
    "category_share": _category_share,
    "pair_count": _pair_count,
    "pair_gap": _pair_gap,
    "seen": _seen,
}


def velocity_names(sides: Sequence[str] = SIDES) -> tuple[str, ...]:
    """Names of the velocity features."""
    kinds = ("log_{side}_volume_{days}d", "{side}_mean_amount_{days}d", "{side}_above_mean_{days}d")
    windows = (kind.format(side=side, days=days) for side in sides for kind in kinds for days in VOLUME_DAYS)
    return (*windows, *(f"{side}_{name}" for side in sides for name in _MEASURES))


# A short list: the caller of the served model keeps these with each transaction and sends them with its history.
_OTHERS = ("gap_1", "count_3d", "amount_above")
_FIRST = (*_OTHERS, "amount_score", "pair_count", "category_share", "online_share")


def _state(sides: Sequence[str]) -> list[tuple[str, str]]:
    return [(side, name) for at, side in enumerate(sides) for name in (_OTHERS if at else _FIRST)]


def state_names(sides: Sequence[str] = SIDES) -> tuple[str, ...]:
    """Names of the state: more of the first relation than of the others."""
    return tuple(f"{side}_{name}" for side, name in _state(sides))


STATE, VELOCITY = state_names(), velocity_names()
