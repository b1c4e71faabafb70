"""The split by time: later rows never teach a model that is judged on earlier ones; ties fall on one side."""

from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from training.graph.days import DAY as DAY
from training.outcome import Permanent

TRAIN, VALIDATE, TEST, IMMATURE, GAP, HISTORY = 0, 1, 2, 3, 4, 5
NAMES = ("train", "validate", "test", "immature", "gap", "history")
ASKED_FOR = NAMES[GAP:]  # parts that are there only where a setting asks for them
ALWAYS = -(2**62)  # before any transaction


@dataclass(frozen=True)
class Boundaries:
    """Where the parts begin, in seconds since the epoch: history < `train` ≤ … < `validate` ≤ … < `test` ≤ …
    < `immature` ≤ …

    The last `gap` seconds before `validate` and before `test` are in no part.
    """

    validate: int
    test: int
    immature: int
    train: int = ALWAYS
    gap: int = 0

    def expression(self) -> pl.Expr:
        """The part of each row as Int8, from its `time`."""
        later = [(pl.col("time") >= begin).cast(pl.Int8) for begin in (self.validate, self.test)]
        time = pl.col("time")
        outside = pl.any_horizontal(
            (time >= begin - self.gap) & (time < begin) for begin in (self.validate, self.test)
        ) & pl.lit(self.gap > 0)
        part = pl.when(time < self.train).then(HISTORY).when(time >= self.immature).then(IMMATURE)
        return part.when(outside).then(GAP).otherwise(sum(later)).cast(pl.Int8)


def by_quantiles(times: pl.Series, train: float, validate: float, immature: int, begin: int) -> Boundaries:
    """Cuts the rows from `begin` on and before `immature` at these shares; `times` is sorted."""
    start, end = (int(times.search_sorted(second, side="left")) for second in (begin, immature))
    cuts = (start + int(max(end - start, 0) * share) for share in (train, train + validate))
    first, second = (_at(times, cut, immature) for cut in cuts)
    return Boundaries(first, second, immature, begin)


def by_years(validate_year: int, test_year: int, immature: int, begin: int) -> Boundaries:
    """Train before the first of these years, test from the second on: for parity with the blueprint."""
    first, second = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (validate_year, test_year))
    return Boundaries(first, second, immature, begin)


def boundaries(
    times: pl.Series, kind: str, train: float, validate: float, immature: int, begin: int = ALWAYS
) -> Boundaries:
    """The boundaries that the configuration asks for; rows from `immature` on are too young, and those before `begin`
    are history.

    Raises:
        Permanent: it asks for a kind that does not exist.
    """
    match kind:
        case "quantiles":
            return by_quantiles(times, train, validate, immature, max(begin, int(times[0])))
        case "years":
            return by_years(2018, 2019, immature, max(begin, int(times[0])))
        case _:
            raise Permanent(f"preprocess: split is {kind!r}; it can be 'quantiles' or 'years'")


def maturity(as_of: int, days: float) -> int:
    """Rows from here on are younger than `days` as of that second: their labels are not known yet."""
    return int(as_of - days * DAY) + 1


def _at(times: pl.Series, position: int, end: int) -> int:
    return min(int(times[min(position, len(times) - 1)]), end)
