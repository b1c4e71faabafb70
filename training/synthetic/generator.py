"""Generates transactions from a number of rows and a seed, as one frame or as consecutive time slices."""

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl

from training.synthetic import behaviour, fraud, world
from training.synthetic.behaviour import Events
from training.synthetic.render import render
from training.synthetic.world import END, FRAUD_RATE, START, Population


def generate(
    rows: int, seed: int, *, fraud_rate: float = FRAUD_RATE, start: date = START, end: date = END
) -> pl.DataFrame:
    """Return a frame of exactly `rows` transactions in the real file's order: by user, card and time."""
    return render(*simulate(rows, seed, fraud_rate=fraud_rate, start=start, end=end))


def slices(
    rows: int,
    seed: int,
    fractions: Sequence[float],
    *,
    fraud_rate: float = FRAUD_RATE,
    start: date = START,
    end: date = END,
) -> list[pl.DataFrame]:
    """Cut one world at quantiles of time into consecutive frames with these shares of the rows.

    Raises:
        ValueError: the fractions do not add up to 1.
    """
    if abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"the fractions {list(fractions)} add up to {sum(fractions)}, not to 1")
    made, events = simulate(rows, seed, fraud_rate=fraud_rate, start=start, end=end)
    by_time = np.argsort(events.minute, kind="stable")
    cuts = np.round(np.cumsum(fractions)[:-1] * rows).astype(int)
    return [render(made, events.take(np.sort(part))) for part in np.split(by_time, cuts)]


def simulate(
    rows: int, seed: int, *, fraud_rate: float = FRAUD_RATE, start: date = START, end: date = END
) -> tuple[Population, Events]:
    """Return the world and its transactions as numbers, sorted by user, card and time.

    Raises:
        ValueError: too few rows for the shortest honest history, or dates in the wrong order.
    """
    if rows < 100 or (end - start).days < 120:
        raise ValueError(f"{rows} rows over {(end - start).days} days: at least 100 rows and 120 days are needed")
    rng = np.random.Generator(np.random.SFC64(seed))
    made = world.make(rows, rng, start, end)
    frauds = round(rows * fraud_rate)
    honest = behaviour.everyday(made, rows - frauds, rng)
    events = behaviour.concatenate([honest, fraud.commit(made, honest, frauds, rng)])
    key = events.card.astype(np.int64) * made.minutes + events.minute
    return made, events.take(np.argsort(key, kind="stable"))
