"""The demo's files: consecutive slices of one synthetic world, and broken files."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from training.synthetic import slices

# Shares of the first data set's rows. The shuffled slice is the newest when it arrives, so it fills the test set. The
# last slice never lands: its transactions are scored live.
SHARES = {"first": 1.0, "second": 0.15, "shuffled": 0.3, "night": 0.15, "later": 0.05}
BURST = 3
LABEL, AMOUNT, CATEGORY = "Is Fraud?", "Amount", "MCC"
IDENTITY = ("User", "Card", "Year", "Month", "Day", "Time", "Amount", "Merchant Name")  # what a report names
UNREPORTED = 3  # one in so many frauds of the second slice is called good until its chargeback comes
REPORTED_DAYS = 20


@dataclass(frozen=True)
class DemoFiles:
    """CSV bytes by name; `first` is three files. `chargebacks` reports `reported` frauds that `second` calls good.

    `payments` are lines without a label, in time order, later than all of the files.
    """

    first: Mapping[str, bytes]
    second: bytes
    chargebacks: bytes
    reported: int
    payments: tuple[str, ...]
    two_faults: bytes
    bad_alone: bytes
    shuffled: bytes
    nightly: bytes
    rows: Mapping[str, int]


def parts(rows: int, seed: int, fraud_rate: float) -> dict[str, list[pl.DataFrame]]:
    """Return the honest slices by name, in time order; `rows` in the first data set, which has several files."""
    total = sum(SHARES.values())
    counts = {name: BURST if name == "first" else 1 for name in SHARES}
    fractions = [SHARES[name] / total / count for name, count in counts.items() for _ in range(count)]
    made = iter(slices(round(rows * total), seed, fractions, fraud_rate=fraud_rate))
    return {name: [next(made) for _ in range(count)] for name, count in counts.items()}


def make(rows: int, seed: int, fraud_rate: float) -> DemoFiles:
    """Return all files of the demo; equal arguments give equal files."""
    honest = parts(rows, seed, fraud_rate)
    (true,), (shuffled,), (nightly,), (later,) = (honest[name] for name in ("second", "shuffled", "night", "later"))
    late = _late(true)
    second = true.with_columns(pl.when(late).then(pl.lit("No")).otherwise(pl.col(LABEL)).alias(LABEL))
    return DemoFiles(
        first={f"day-1-{number}.csv": _csv(part) for number, part in enumerate(honest["first"], 1)},
        second=_csv(second),
        chargebacks=_csv(_reports(true.filter(late))),
        reported=int(late.sum()),
        payments=tuple(_in_time(later).drop(LABEL).write_csv(include_header=False).splitlines()),
        two_faults=_csv(_bad_amounts(second.head(2000)).drop(CATEGORY)),
        bad_alone=_csv(_bad_amounts(second.slice(2000, 2000))),
        shuffled=_csv(shuffled.with_columns(pl.col(LABEL).shuffle(seed))),
        nightly=_csv(nightly),
        rows={name: sum(map(len, frames)) for name, frames in honest.items()},
    )


def _in_time(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows in the order in which they were paid; those of a file are sorted by card."""
    return frame.sort("Year", "Month", "Day", "Time", maintain_order=True)


def _late(frame: pl.DataFrame) -> pl.Series:
    """Which rows are frauds whose chargeback has not come yet."""
    fraud = frame[LABEL] == "Yes"
    return fraud & (fraud.cast(pl.Int32).cum_sum() % UNREPORTED == 0)


def _reports(frauds: pl.DataFrame) -> pl.DataFrame:
    """Chargebacks: identity, label, and when each was reported."""
    paid = pl.datetime("Year", "Month", "Day") + pl.duration(days=REPORTED_DAYS)
    return frauds.select(*IDENTITY, LABEL, reported_at=paid.dt.strftime("%Y-%m-%dT%H:%M:%SZ"))


def _bad_amounts(frame: pl.DataFrame) -> pl.DataFrame:
    """Replace every hundredth amount by text that is no number."""
    bad = pl.int_range(pl.len()) % 100 == 17
    return frame.with_columns(pl.when(bad).then(pl.lit("n/a")).otherwise(pl.col(AMOUNT)).alias(AMOUNT))


def _csv(frame: pl.DataFrame) -> bytes:
    return frame.write_csv().encode()
