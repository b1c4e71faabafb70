"""The users, cards and merchants of a synthetic TabFormer world, and its density."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.synthetic import mcc

Ints = NDArray[np.int32]

START, END = date(2016, 1, 1), date(2020, 2, 28)
FRAUD_RATE = 29_757 / 24_386_900  # the real file's
# Density of the real file: 24.4M rows are 6,139 cards over 10,650 days and 100,343 merchants.
ROWS_PER_CARD_DAY = 0.373
ROWS_PER_MERCHANT = 243
CARDS_PER_USER = 3.07
FAVOURITES = 12
ONLINE_MERCHANTS = 0.08  # share of the merchants
FOREIGN_CITIES = 0.25  # share of the cities that have a State but no Zip; they are visited too rarely to matter

TOWNS = (
    "La Verne",
    "Monterey Park",
    "Mira Loma",
    "Houston",
    "Chicago",
    "Brooklyn",
    "Tulsa",
    "Fresno",
    "Naples",
    "Dayton",
)
STATES = ("CA", "CA", "CA", "TX", "IL", "NY", "OK", "CA", "FL", "OH")
COUNTRIES = ("Mexico", "Italy", "Canada", "France", "Japan")


@dataclass(frozen=True)
class Population:
    """Tables of users, cards, cities and merchants; arrays are indexed by the number of a card, city or merchant."""

    minutes: int  # length of the world
    start: date
    card_user: Ints
    card_number: Ints  # number of the card among its user's cards
    card_city: Ints
    card_opened: NDArray[np.float32]  # share of the world's time
    card_closed: NDArray[np.float32]
    card_weight: NDArray[np.float64]
    favourites: Ints  # [cards, FAVOURITES] merchants
    merchant_name: NDArray[np.int64]
    merchant_city: Ints  # -1 online
    merchant_mcc: Ints  # index into mcc.CODES
    merchant_zip: Ints
    city_first: Ints  # the merchants of city c are city_first[c] … city_first[c + 1] - 1; the online ones come last

    @property
    def cards(self) -> int:
        return len(self.card_user)

    @property
    def merchants(self) -> int:
        return len(self.merchant_name)

    @property
    def first_online(self) -> int:
        return int(self.city_first[-1])


def make(rows: int, rng: np.random.Generator, start: date, end: date) -> Population:
    """Return a world in which `rows` transactions between two dates are as dense as in the real file."""
    days = (end - start).days
    cards = max(24, round(rows / (ROWS_PER_CARD_DAY * days)))
    merchants = max(120, round(rows / ROWS_PER_MERCHANT))
    cities = max(6, cards // 60)
    user, number = _cards(cards, rng)
    city_of_user = rng.integers(0, max(1, round(cities * (1 - FOREIGN_CITIES))), user[-1] + 1)
    city, first = _merchants(merchants, cities, rng)
    opened, closed = _lifetimes(cards, rng)
    return Population(
        minutes=days * 1440,
        start=start,
        card_user=user,
        card_number=number,
        card_city=city_of_user[user].astype(np.int32),
        card_opened=opened,
        card_closed=closed,
        card_weight=rng.lognormal(0, 0.6, cards) * (closed - opened),
        favourites=_favourites(city_of_user[user], first, rng),
        merchant_name=rng.integers(-(2**63), 2**63 - 1, merchants, dtype=np.int64),
        merchant_city=city,
        merchant_mcc=rng.choice(len(mcc.CODES), merchants, p=mcc.shares()).astype(np.int32),
        merchant_zip=rng.integers(1001, 99951, merchants).astype(np.int32),
        city_first=first,
    )


def _cards(cards: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    held = 1 + np.minimum(rng.poisson(CARDS_PER_USER - 1, cards), 8)
    user = np.repeat(np.arange(cards), held)[:cards]
    first = np.concatenate([[0], np.cumsum(held)])[user]
    return user.astype(np.int32), (np.arange(cards) - first).astype(np.int32)


def _lifetimes(cards: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return lifetimes of cards: six in ten exist throughout, the others are opened or closed in between."""
    kind = rng.random(cards)
    opened = np.where(kind > 0.75, rng.random(cards) * 0.95, 0.0)
    closed = np.where((kind > 0.6) & (kind <= 0.75), 0.2 + rng.random(cards) * 0.8, 1.0)
    return opened.astype(np.float32), closed.astype(np.float32)


def _merchants(merchants: int, cities: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Return the city of each merchant (sorted; -1 for online ones at the end) and each city's first merchant."""
    online = max(12, round(merchants * ONLINE_MERCHANTS))
    city = np.sort(np.concatenate([np.arange(cities), rng.integers(0, cities, merchants - online - cities)]))
    first = np.searchsorted(city, np.arange(cities + 1))
    return np.concatenate([city, np.full(online, -1)]).astype(np.int32), first.astype(np.int32)


def _favourites(city: NDArray[np.int64], first: Ints, rng: np.random.Generator) -> Ints:
    begin, end = first[city], first[city + 1]
    spread = rng.random((len(city), FAVOURITES)) ** 1.5  # the first merchants of a city are the popular ones
    return whole(begin[:, None] + spread * (end - begin)[:, None])


def whole(numbers: NDArray[Any]) -> Ints:
    """Round numbers down to integers."""
    return np.asarray(numbers, dtype=np.int32)
