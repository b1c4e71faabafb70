"""The split by time: later rows never teach a model that is judged on earlier ones; ties fall on one side."""

from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from training.outcome import Permanent

TRAIN, VALIDATE, TEST, IMMATURE = 0, 1, 2, 3
NAMES = ("train", "validate", "test", "immature")
DAY = 86_400


@dataclass(frozen=True)
class Boundaries:
    """Where the parts begin, in seconds since the epoch: train < `validate` ≤ … < `test` ≤ … < `immature` ≤ …"""

    validate: int
    test: int
    immature: int

    def expression(self) -> pl.Expr:
        """The part of each row as Int8, from its `time`."""
        later = [(pl.col("time") >= begin).cast(pl.Int8) for begin in (self.validate, self.test)]
        return pl.when(pl.col("time") >= self.immature).then(IMMATURE).otherwise(sum(later)).cast(pl.Int8)


def by_quantiles(times: pl.Series, train: float, validate: float, maturity_days: float) -> Boundaries:
    """Cuts the rows older than the newest by `maturity_days` at these shares; `times` is sorted."""
    immature = _maturity(times, maturity_days)
    mature = int(times.search_sorted(immature, side="left"))
    first, second = (_at(times, int(mature * share), immature) for share in (train, train + validate))
    return Boundaries(first, second, immature)


def by_years(times: pl.Series, validate_year: int, test_year: int, maturity_days: float) -> Boundaries:
    """Train before the first of these years, test from the second on: for parity with the blueprint."""
    first, second = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (validate_year, test_year))
    return Boundaries(first, second, _maturity(times, maturity_days))


def boundaries(times: pl.Series, kind: str, train: float, validate: float, maturity_days: float) -> Boundaries:
    """The boundaries that the configuration asks for.

    Raises:
        Permanent: it asks for a kind that does not exist.
    """
    match kind:
        case "quantiles":
            return by_quantiles(times, train, validate, maturity_days)
        case "years":
            return by_years(times, 2018, 2019, maturity_days)
        case _:
            raise Permanent(f"preprocess: split is {kind!r}; it can be 'quantiles' or 'years'")


def _maturity(times: pl.Series, days: float) -> int:
    """Rows from here on are younger than `days` before the newest one: their labels are not known yet."""
    return int(times[-1] - days * DAY) + 1


def _at(times: pl.Series, position: int, end: int) -> int:
    return min(int(times[min(position, len(times) - 1)]), end)
