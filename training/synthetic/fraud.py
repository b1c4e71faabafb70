"""Relational fraud: a merchant leaks cards, and some of them are then used in bursts at a few other merchants.

A leak starts at a transaction of some merchant and lasts 45 days. A few of the cards seen there meanwhile show a burst
of
two to thirteen frauds over one to ten days, two to forty days after their visit, at the five *cash-out* merchants of
the
leak. A row's own values (channel, category, amount, error) are only a weak signal: the channels' fraud rates are the
real
file's, and a share `NOISE` of the frauds is unrelated to anything.
"""

import numpy as np
from numpy.typing import NDArray

from training.synthetic import mcc
from training.synthetic.behaviour import (
    SHARES,
    Events,
    any_online,
    channel_of,
    complete,
    concatenate,
    minute_of_day,
    popular_in,
)
from training.synthetic.world import Ints, Population, whole

NOISE = 0.15
LEAK_MINUTES = 45 * 1440
CARDS_PER_LEAK = 4.0
BURST = np.arange(2, 14)
BURST_SHARES = np.exp(-(((BURST - 9) / 3.2) ** 2))
CASHOUT_ONLINE, CASHOUT_SHOPS = 3, 2
GOLDEN = (5**0.5 - 1) / 2
APPEAL = 25.0  # weight of a merchant whose goods can be resold, relative to other categories
# The real file's fraud rates by channel: swipe .043 %, chip .077 %, online .676 %.
FRAUDS = SHARES * np.array([0.043, 0.077, 0.676])
ONLINE_FRAUDS = FRAUDS[2] / FRAUDS.sum()
CHIP_FRAUDS = FRAUDS[1] / FRAUDS[:2].sum()


def commit(world: Population, honest: Events, frauds: int, rng: np.random.Generator) -> Events:
    """Return exactly `frauds` fraudulent transactions, derived from the honest ones."""
    related = _bursts(world, honest, round(frauds * (1 - NOISE)), rng)
    return concatenate([related, _noise(world, honest, frauds - len(related), rng)])


def _bursts(world: Population, honest: Events, frauds: int, rng: np.random.Generator) -> Events:
    """Return at most `frauds` rows. Bursts beyond the end of the world are dropped."""
    leaks = 2 + round(1.6 * frauds / (CARDS_PER_LEAK * float(BURST @ BURST_SHARES / BURST_SHARES.sum())))
    leak, card, visit = _stolen(world, honest, leaks, rng)
    # Surplus rows are dropped at the end, so the leaks are ordered such that any prefix covers the whole time.
    by_leak = np.argsort((leak * GOLDEN) % 1, kind="stable")
    leak, card, visit = leak[by_leak], card[by_leak], visit[by_leak]
    size = rng.choice(BURST, len(card), p=BURST_SHARES / BURST_SHARES.sum())
    burst = np.repeat(np.arange(len(card)), size)
    begin = visit // 1440 + rng.integers(2, 41, len(card))
    day = begin[burst] + (rng.random(len(burst)) * rng.integers(1, 11, len(card))[burst]).astype(np.int64)
    inside = np.flatnonzero(day < world.minutes // 1440)[:frauds]
    day, burst = day[inside], burst[inside]
    minute = day * 1440 + minute_of_day(len(day), rng)
    online = rng.random(len(day)) < ONLINE_FRAUDS
    merchant = _cashouts(world, leaks, rng)[leak[burst], _which(online, rng)]
    return complete(world, minute, card[burst], merchant, channel_of(online, CHIP_FRAUDS, rng), True, rng)


def _stolen(world: Population, honest: Events, leaks: int, rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    """Return the cards that each leak uses, with the minute of their visit: (leak, card, minute), sorted by leak."""
    source = _sources(world, honest, leaks, rng)
    source_merchant, begin = honest.merchant[source], honest.minute[source]
    leaking = np.zeros(world.merchants, dtype=bool)
    leaking[source_merchant] = True
    visits = np.flatnonzero(leaking[honest.merchant])
    visits = visits[np.lexsort((honest.minute[visits], honest.merchant[visits]))]
    key = honest.merchant[visits].astype(np.int64) * (2 * world.minutes) + honest.minute[visits]
    first = np.searchsorted(key, source_merchant.astype(np.int64) * (2 * world.minutes) + begin)
    last = np.searchsorted(key, source_merchant.astype(np.int64) * (2 * world.minutes) + begin + LEAK_MINUTES)
    wanted = 1 + rng.poisson(CARDS_PER_LEAK - 1, leaks)
    chosen = [_some_cards(honest, visits[a:b], n, rng) for a, b, n in zip(first, last, wanted, strict=True)]
    rows = np.concatenate(chosen)
    return np.repeat(np.arange(leaks), [len(part) for part in chosen]), honest.card[rows], honest.minute[rows]


def _sources(world: Population, honest: Events, leaks: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the transaction at which each leak starts: one in each of `leaks` equal time spans (nearest of 64
    draws).
    """
    wanted = (np.arange(leaks) + rng.random(leaks)) / leaks * world.minutes
    offered = rng.integers(0, len(honest), (leaks, 64))
    nearest = np.abs(honest.minute[offered] - wanted[:, None]).argmin(axis=1)
    return np.asarray(offered[np.arange(leaks), nearest])


def _some_cards(honest: Events, visits: Ints, wanted: int, rng: np.random.Generator) -> Ints:
    """Return one visit of each of at most `wanted` different cards."""
    shuffled = rng.permutation(visits)
    _, first = np.unique(honest.card[shuffled], return_index=True)
    return whole(shuffled[np.sort(first)[:wanted]])


def _cashouts(world: Population, leaks: int, rng: np.random.Generator) -> Ints:
    """Return [leaks, 5] merchants: three online and two shops, mostly with goods that can be resold."""
    appeal = np.where(mcc.resale()[world.merchant_mcc], APPEAL, 1.0)
    shops, online = np.split(appeal, [world.first_online])
    chosen_online = world.first_online + rng.choice(len(online), (leaks, CASHOUT_ONLINE), p=online / online.sum())
    chosen_shops = rng.choice(len(shops), (leaks, CASHOUT_SHOPS), p=shops / shops.sum())
    return whole(np.concatenate([chosen_online, chosen_shops], axis=1))


def _which(online: NDArray[np.bool_], rng: np.random.Generator) -> Ints:
    in_shop = CASHOUT_ONLINE + rng.integers(0, CASHOUT_SHOPS, len(online))
    return whole(np.where(online, rng.integers(0, CASHOUT_ONLINE, len(online)), in_shop))


def _noise(world: Population, honest: Events, frauds: int, rng: np.random.Generator) -> Events:
    """Return single frauds: any card, time and merchant."""
    at = rng.integers(0, len(honest), frauds)
    online = rng.random(frauds) < ONLINE_FRAUDS
    city = whole(rng.integers(0, len(world.city_first) - 1, frauds))
    merchant = np.where(online, any_online(world, frauds, rng), popular_in(world, city, rng))
    minute = honest.minute[at] // 1440 * 1440 + minute_of_day(frauds, rng)
    return complete(world, minute, honest.card[at], merchant, channel_of(online, CHIP_FRAUDS, rng), True, rng)
