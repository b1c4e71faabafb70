"""The transaction simulator of the Fraud Detection Handbook (Le Borgne et al. 2022, chapter 3), written from its rules.

`python -m benchmarks.handbook FILE [--rows N] [--seed S]`. 183 days; customers pay at terminals near them. A payment
is a fraud if its amount is above 220, if its terminal was taken over in the last 28 days, or if it is one of a third of
the payments, of five times the amount, of a customer whose card was copied in the last 14 days. The book's own file has
5,000 customers, 10,000 terminals and 1,754,155 rows; here the rows say how many, with the shares of the book.
"""

import argparse
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

DAYS, DAY, SPAN = 183, 86_400, 100.0
BEGIN = 1_522_540_800  # 2018-04-01, UTC
ROWS_A_CUSTOMER = 1_754_155 / 5_000
TERMINALS_A_CUSTOMER, NEAR = 2, 78.5  # terminals within reach of a customer: 10,000 · π · 5² / 100²
LIMIT = 220
TERMINALS_A_DAY, TERMINAL_DAYS = 2 / 10_000, 28
CUSTOMERS_A_DAY, CUSTOMER_DAYS = 3 / 5_000, 14

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass
class Payments:
    """N payments in time's order: customer, terminal, seconds since the first day's beginning, amount, fraud."""

    customer: Ints
    terminal: Ints
    seconds: Ints
    amount: Floats
    fraud: NDArray[np.bool_]

    @property
    def day(self) -> Ints:
        """The day of each payment, from 0."""
        return self.seconds // DAY


def generate(rows: int, seed: int) -> pl.DataFrame:
    """About `rows` transactions in the columns of the preset `handbook`; the same seed gives the same rows."""
    rng = np.random.default_rng(seed)
    customers = max(round(rows / ROWS_A_CUSTOMER), 20)
    terminals = TERMINALS_A_CUSTOMER * customers
    made = _payments(customers, terminals, rng)
    made.fraud |= made.amount > LIMIT
    _take_over(made, terminals, rng)
    _copy(made, customers, rng)
    return pl.DataFrame(
        {
            "TRANSACTION_ID": np.arange(len(made.amount)),
            "TX_DATETIME": BEGIN + made.seconds,
            "CUSTOMER_ID": made.customer,
            "TERMINAL_ID": made.terminal,
            "TX_AMOUNT": made.amount.round(2),
            "TX_FRAUD": made.fraud.astype(np.int8),
        }
    ).with_columns(pl.from_epoch("TX_DATETIME").dt.strftime("%Y-%m-%d %H:%M:%S"))


def _payments(customers: int, terminals: int, rng: np.random.Generator) -> Payments:
    """Poisson(rate) payments a customer and day around noon, at one of the terminals that are near."""
    home, place = rng.uniform(0, SPAN, (customers, 2)), rng.uniform(0, SPAN, (terminals, 2))
    mean, rate = rng.uniform(5, 100, customers), rng.uniform(0, 4, customers)
    per_day = rng.poisson(rate[:, None], (customers, DAYS))
    customer, day = (np.repeat(part.ravel(), per_day.ravel()) for part in np.indices(per_day.shape))
    second = rng.normal(DAY / 2, 20_000, len(day)).astype(np.int64)
    inside = (second > 0) & (second < DAY)
    customer, seconds = customer[inside], (day * DAY + second)[inside]
    order = np.argsort(seconds, kind="stable")
    customer, seconds = customer[order], seconds[order]
    amount = rng.normal(mean[customer], mean[customer] / 2)
    amount = np.where(amount < 0, rng.uniform(0, 2 * mean[customer]), amount)
    terminal = _chosen(customer, home, place, rng)
    return Payments(customer, terminal, seconds, amount, np.zeros(len(amount), dtype=np.bool_))


def _chosen(customer: Ints, home: Floats, place: Floats, rng: np.random.Generator) -> Ints:
    """For each payment one of its customer's near terminals; a customer without any uses the nearest one."""
    radius = SPAN * np.sqrt(NEAR / (np.pi * len(place)))
    found = np.empty(len(customer), dtype=np.int64)
    draw = rng.random(len(customer))
    order = np.argsort(customer, kind="stable")
    ends = np.searchsorted(customer[order], np.arange(len(home) + 1))
    for one in range(len(home)):
        mine, near = order[ends[one] : ends[one + 1]], _near(home[one], place, radius)
        found[mine] = near[(draw[mine] * len(near)).astype(np.int64)]
    return found


def _near(home: Floats, place: Floats, radius: float) -> Ints:
    distance = np.hypot(*(place - home).T)
    near = np.flatnonzero(distance < radius)
    return near if len(near) else np.argmin(distance, keepdims=True)


def _take_over(made: Payments, terminals: int, rng: np.random.Generator) -> None:
    for day in range(DAYS):
        taken = rng.choice(terminals, _whole(TERMINALS_A_DAY * terminals, rng), replace=False)
        during = _during(made, day, TERMINAL_DAYS)
        made.fraud[during] |= np.isin(made.terminal[during], taken)


def _copy(made: Payments, customers: int, rng: np.random.Generator) -> None:
    for day in range(DAYS):
        copied = rng.choice(customers, _whole(CUSTOMERS_A_DAY * customers, rng), replace=False)
        during = _during(made, day, CUSTOMER_DAYS)
        theirs = during.start + np.flatnonzero(np.isin(made.customer[during], copied))
        stolen = rng.choice(theirs, len(theirs) // 3, replace=False)
        made.amount[stolen] *= 5
        made.fraud[stolen] = True


def _whole(mean: float, rng: np.random.Generator) -> int:
    """A whole number whose mean is `mean`: small simulations keep the book's share of frauds."""
    return int(mean + rng.random())


def _during(made: Payments, day: int, days: int) -> slice:
    """The payments of `days` days from `day` on; they are sorted by time."""
    return slice(*np.searchsorted(made.seconds, [day * DAY, (day + days) * DAY]))


def main() -> None:
    """Write the CSV file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.handbook", description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--rows", type=int, default=1_754_155)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    generate(arguments.rows, arguments.seed).write_csv(arguments.file, float_precision=2)


if __name__ == "__main__":
    main()
