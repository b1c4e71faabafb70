"""The split by time: later rows never teach a model that is judged on earlier ones; ties fall on one side."""

from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from training.outcome import Permanent

TRAIN, VALIDATE, TEST, IMMATURE, HISTORY = 0, 1, 2, 3, 4
NAMES = ("train", "validate", "test", "immature", "history")
LEARNABLE = NAMES[:IMMATURE]
DAY = 86_400
ALWAYS = -(2**62)  # before any transaction


@dataclass(frozen=True)
class Boundaries:
    """Where the parts begin, in seconds since the epoch: history < `train` ≤ … < `validate` ≤ … < `test` ≤ …
    < `immature` ≤ …
    """

    validate: int
    test: int
    immature: int
    train: int

    def expression(self) -> pl.Expr:
        """The part of each row as Int8, from its `time`."""
        later = [(pl.col("time") >= begin).cast(pl.Int8) for begin in (self.validate, self.test)]
        part = pl.when(pl.col("time") >= self.immature).then(IMMATURE).otherwise(sum(later))
        return pl.when(pl.col("time") < self.train).then(HISTORY).otherwise(part).cast(pl.Int8)


def by_quantiles(times: pl.Series, train: float, validate: float, maturity_days: float, begin: int) -> Boundaries:
    """Cuts the rows from `begin` on that are older than the newest by `maturity_days` at these shares; `times` is
    sorted.
    """
    immature = _maturity(times, maturity_days)
    start, end = (int(times.search_sorted(second, side="left")) for second in (begin, immature))
    cuts = (start + int(max(end - start, 0) * share) for share in (train, train + validate))
    first, second = (_at(times, cut, immature) for cut in cuts)
    return Boundaries(first, second, immature, begin)


def by_years(times: pl.Series, validate_year: int, test_year: int, maturity_days: float, begin: int) -> Boundaries:
    """Train before the first of these years, test from the second on: for parity with the blueprint."""
    first, second = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (validate_year, test_year))
    return Boundaries(first, second, _maturity(times, maturity_days), begin)


def boundaries(
    times: pl.Series, kind: str, train: float, validate: float, maturity_days: float, begin: int = ALWAYS
) -> Boundaries:
    """The boundaries that the configuration asks for; no part but history begins before `begin`.

    Raises:
        Permanent: it asks for a kind that does not exist.
    """
    match kind:
        case "quantiles":
            return by_quantiles(times, train, validate, maturity_days, max(begin, int(times[0])))
        case "years":
            return by_years(times, 2018, 2019, maturity_days, max(begin, int(times[0])))
        case _:
            raise Permanent(f"preprocess: split is {kind!r}; it can be 'quantiles' or 'years'")


def _maturity(times: pl.Series, days: float) -> int:
    """Rows from here on are younger than `days` before the newest one: their labels are not known yet."""
    return int(times[-1] - days * DAY) + 1


def _at(times: pl.Series, position: int, end: int) -> int:
    return min(int(times[min(position, len(times) - 1)]), end)
