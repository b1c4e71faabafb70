"""The demo's files: one synthetic world in consecutive slices, and the ways in which files go bad."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from training.synthetic import slices

# Shares of the first data set's rows. The shuffled slice is the newest when it lands, so it fills the test set.
SHARES = {"first": 1.0, "second": 0.15, "shuffled": 0.45, "night": 0.15}
BURST = 3
LABEL, AMOUNT, CATEGORY = "Is Fraud?", "Amount", "MCC"


@dataclass(frozen=True)
class DemoFiles:
    """CSV bytes by name; `first` is three files."""

    first: Mapping[str, bytes]
    second: bytes
    two_faults: bytes
    bad_alone: bytes
    shuffled: bytes
    nightly: bytes
    rows: Mapping[str, int]


def parts(rows: int, seed: int, fraud_rate: float) -> dict[str, list[pl.DataFrame]]:
    """The honest slices by name, in the order of time; `rows` in the first data set, which is a burst of several."""
    total = sum(SHARES.values())
    counts = {name: BURST if name == "first" else 1 for name in SHARES}
    fractions = [SHARES[name] / total / count for name, count in counts.items() for _ in range(count)]
    made = iter(slices(round(rows * total), seed, fractions, fraud_rate=fraud_rate))
    return {name: [next(made) for _ in range(count)] for name, count in counts.items()}


def make(rows: int, seed: int, fraud_rate: float) -> DemoFiles:
    """All files of the demo, the same for the same arguments."""
    honest = parts(rows, seed, fraud_rate)
    (second,), (shuffled,), (nightly,) = honest["second"], honest["shuffled"], honest["night"]
    return DemoFiles(
        first={f"day-1-{number}.csv": _csv(part) for number, part in enumerate(honest["first"], 1)},
        second=_csv(second),
        two_faults=_csv(_bad_amounts(second.head(2000)).drop(CATEGORY)),
        bad_alone=_csv(_bad_amounts(second.slice(2000, 2000))),
        shuffled=_csv(shuffled.with_columns(pl.col(LABEL).shuffle(seed))),
        nightly=_csv(nightly),
        rows={name: sum(map(len, frames)) for name, frames in honest.items()},
    )


def _bad_amounts(frame: pl.DataFrame) -> pl.DataFrame:
    """Every hundredth amount is no number."""
    bad = pl.int_range(pl.len()) % 100 == 17
    return frame.with_columns(pl.when(bad).then(pl.lit("n/a")).otherwise(pl.col(AMOUNT)).alias(AMOUNT))


def _csv(frame: pl.DataFrame) -> bytes:
    return frame.write_csv().encode()
