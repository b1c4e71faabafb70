"""Honest transactions: everyday purchases and occasional sprees that look like a theft."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from training.synthetic import mcc
from training.synthetic.world import FAVOURITES, Ints, Population, whole

SWIPE, CHIP, ONLINE = 0, 1, 2
CHANNELS = ("Swipe Transaction", "Chip Transaction", "Online Transaction")
SHARES = np.array([0.631, 0.258, 0.111])  # the real file's
CHIP_WHEN_PRESENT = SHARES[CHIP] / (SHARES[SWIPE] + SHARES[CHIP])
FAVOURITE = 0.7  # share of a card's purchases in shops that are made at one of its favourite merchants
SPREES = 0.005  # share of the honest rows in bursts: holidays, moving house, presents
ONLINE_SPREES, ONLINE_IN_SPREE = 0.4, 0.8  # share of the sprees that are made online, and of their purchases that are
EVERYDAY_ONLINE = (SHARES[ONLINE] - SPREES * ONLINE_SPREES * ONLINE_IN_SPREE) / (1 - SPREES)
REFUNDS = 0.05
ERRORS = (
    "", "Insufficient Balance", "Bad PIN", "Technical Glitch", "Bad Card Number", "Bad CVV", "Bad Expiration",
    "Bad Zipcode", "Insufficient Balance,Technical Glitch", "Bad PIN,Insufficient Balance",
)  # fmt: skip
ERROR_SHARES = np.array([0.0, 0.62, 0.13, 0.12, 0.035, 0.032, 0.032, 0.011, 0.011, 0.009])
ERROR_RATE = 0.016


@dataclass(frozen=True)
class Events:
    """Transactions as parallel arrays: minutes since the world's start, card, merchant, cents, channel, error,
    fraud.
    """

    minute: Ints
    card: Ints
    merchant: Ints
    cents: Ints
    channel: NDArray[np.int8]
    error: NDArray[np.int8]
    fraud: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.minute)

    def take(self, rows: NDArray[np.int64] | slice) -> "Events":
        """Return these rows in this order."""
        return Events(*(getattr(self, field.name)[rows] for field in fields(self)))


def concatenate(parts: list[Events]) -> Events:
    """Return the rows of all parts in sequence."""
    return Events(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Events)))


def everyday(world: Population, rows: int, rng: np.random.Generator) -> Events:
    """Return honest transactions: a share of `SPREES` in bursts, the others over each card's lifetime."""
    in_sprees = round(rows * SPREES)
    return concatenate([_purchases(world, rows - in_sprees, rng), _sprees(world, in_sprees, rng)])


def _purchases(world: Population, rows: int, rng: np.random.Generator) -> Events:
    counts = rng.multinomial(rows, world.card_weight / world.card_weight.sum())
    card = np.repeat(np.arange(world.cards, dtype=np.int32), counts)
    alive = (world.card_closed - world.card_opened)[card]
    day = ((world.card_opened[card] + rng.random(rows, dtype=np.float32) * alive) * (world.minutes // 1440)).astype(
        np.int32
    )
    minute = np.minimum(day, world.minutes // 1440 - 1) * 1440 + minute_of_day(rows, rng)
    online = rng.random(rows, dtype=np.float32) < EVERYDAY_ONLINE
    merchant = np.where(online, any_online(world, rows, rng), _shops(world, card, rng))
    return complete(
        world, minute, card, merchant.astype(np.int32), channel_of(online, CHIP_WHEN_PRESENT, rng), False, rng
    )


def _sprees(world: Population, rows: int, rng: np.random.Generator) -> Events:
    """Two to nine purchases in one to five days by one card, in a strange city or online."""
    sizes = rng.integers(2, 10, rows)
    spree = np.repeat(np.arange(rows), sizes)[:rows]
    card = rng.choice(world.cards, rows, p=world.card_weight / world.card_weight.sum()).astype(np.int32)[spree]
    begin = world.card_opened[card] + rng.random(rows)[spree] * (world.card_closed - world.card_opened)[card]
    length = rng.integers(1, 6, rows)[spree]
    day = (begin * (world.minutes // 1440)).astype(np.int32) + (rng.random(rows) * length).astype(np.int32)
    minute = np.minimum(day, world.minutes // 1440 - 1) * 1440 + minute_of_day(rows, rng)
    online = rng.random(rows) < (rng.random(rows) < ONLINE_SPREES)[spree] * ONLINE_IN_SPREE
    city = rng.integers(0, len(world.city_first) - 1, rows)[spree]
    merchant = np.where(online, any_online(world, rows, rng), popular_in(world, city, rng))
    return complete(
        world, minute, card, merchant.astype(np.int32), channel_of(online, CHIP_WHEN_PRESENT, rng), False, rng
    )


def _shops(world: Population, card: Ints, rng: np.random.Generator) -> Ints:
    """Return a favourite merchant of the card, or any merchant of its city."""
    rank = (rng.random(len(card), dtype=np.float32) ** 2 * FAVOURITES).astype(np.int32)
    usual = world.favourites.ravel()[card * FAVOURITES + rank]
    other = popular_in(world, world.card_city[card], rng)
    return np.where(rng.random(len(card), dtype=np.float32) < FAVOURITE, usual, other)


def popular_in(world: Population, city: Ints, rng: np.random.Generator) -> Ints:
    """Return a merchant of each of these cities, weighted by popularity."""
    return _popular(world.city_first[city], world.city_first[city + 1], rng.random(len(city), dtype=np.float32))


def any_online(world: Population, rows: int, rng: np.random.Generator) -> Ints:
    """Return an online merchant, weighted by popularity."""
    return _popular(world.first_online, world.merchants, rng.random(rows, dtype=np.float32))


def _popular(first: Ints | int, end: Ints | int, draw: NDArray[np.float32]) -> Ints:
    """Numbers from `first` to before `end`, the first ones most often; a sum in float32 may be rounded up to `end`."""
    return np.minimum(whole(first + draw**2 * (end - first)), end - 1)


def minute_of_day(rows: int, rng: np.random.Generator) -> Ints:
    """Return minutes of the day, mostly in daytime. Honest and fraudulent rows have one distribution, as in the
    real file.
    """
    curve = 0.15 + np.exp(-(((np.arange(1440) / 60 - 13) / 4.5) ** 2))
    quantiles = whole(np.searchsorted(np.cumsum(curve) / curve.sum(), (np.arange(4096) + 0.5) / 4096))
    return whole(quantiles[rng.integers(0, 4096, rows, dtype=np.int32)])


def channel_of(online: NDArray[np.bool_], chip: float, rng: np.random.Generator) -> NDArray[np.int8]:
    """Return online, or chip with this probability, or else swipe."""
    present = np.where(rng.random(len(online), dtype=np.float32) < chip, CHIP, SWIPE)
    return np.where(online, ONLINE, present).astype(np.int8)


def complete(
    world: Population,
    minute: Ints,
    card: Ints,
    merchant: Ints,
    channel: NDArray[np.int8],
    fraud: bool,
    rng: np.random.Generator,
) -> Events:
    """Add amount and error, drawn row by row. Frauds have slightly larger amounts, fewer refunds and more errors."""
    rows = len(minute)
    shift, spread, refunds, errors = (0.9, 0.8, 0.02, 0.04) if fraud else (0.0, 0.9, REFUNDS, ERROR_RATE)
    noise = rng.standard_normal(rows, dtype=np.float32) * np.float32(spread) + np.float32(shift)
    dollars = np.exp(mcc.log_medians()[world.merchant_mcc[merchant]] + noise)
    sign = np.where(rng.random(rows, dtype=np.float32) < refunds, -1, 1)
    cents = np.clip(dollars * 100, 1, 1_200_000).astype(np.int32) * sign.astype(np.int32)
    error = np.zeros(rows, dtype=np.int8)
    failed = np.flatnonzero(rng.random(rows, dtype=np.float32) < errors)
    error[failed] = rng.choice(len(ERRORS), len(failed), p=ERROR_SHARES)
    return Events(minute.astype(np.int32), card, merchant, cents, channel, error, np.full(rows, fraud))
