"""A transaction that is delivered again replaces the earlier delivery: label, amount or zip may have been corrected.

A transaction is known by its id. If the model declares none (TabFormer has none, and a resolution of a minute), it is
known by its time and entities, and by its running number among those of one object. If an object holds fewer of them
than were known, those of the same amount are matched first. The label takes no part. Only times that two objects cover
are looked at.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.data.declaration import Declaration
from training.data.judging import ValidationResult
from training.data.presets import preset


@dataclass(frozen=True)
class Again:
    """Rows that a later delivery replaced: `corrected` if it says something else, `duplicates` if it says the same.

    `labels` counts those of `corrected` that differ in nothing but the label.
    """

    corrected: int = 0
    duplicates: int = 0
    labels: int = 0


def contested(verdicts: Sequence[ValidationResult], data: Declaration | None = None) -> list[tuple[int, int]]:
    """The spans of time (first and last second, sorted, apart) that more than one object covers; one pass.

    With a declared id it is all the time: a corrected time is told by the id.
    """
    if data is not None and data.id and len(verdicts) > 1:
        return [(min(one.first for one in verdicts), max(one.last for one in verdicts))]
    spans: list[tuple[int, int]] = []
    reach: int | None = None
    for first, last in sorted((verdict.first, verdict.last) for verdict in verdicts):
        if reach is not None and first <= reach:
            end = min(last, reach)
            if spans and first <= spans[-1][1]:
                spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
            else:
                spans.append((first, end))
        reach = last if reach is None else max(reach, last)
    return spans


def key_of(data: Declaration) -> tuple[str, ...]:
    """The clean columns that a transaction is known by."""
    return ("id",) if data.id else ("time", *data.keys)


def newest(
    rows: pl.DataFrame, verdicts: Sequence[ValidationResult], data: Declaration | None = None
) -> tuple[pl.DataFrame, Again]:
    """Each transaction's newest delivery; `rows` are those of the objects of `verdicts`, in the order of delivery."""
    data = data or preset()
    spans = contested(verdicts, data)
    if not spans:
        return rows, Again()
    inside = _inside(rows["time"], spans)
    objects = pl.Series(np.repeat(np.arange(len(verdicts), dtype=np.int32), [verdict.rows for verdict in verdicts]))
    number = pl.int_range(pl.len(), dtype=pl.UInt32)
    key = pl.struct(key_of(data)).hash()  # 64 bits: several times cheaper to group by than what they stand for
    seen = rows.select("cents", key=key, row=number, object=objects).filter(inside)
    replaced = _replaced(seen)
    if not len(replaced):
        return rows, Again()
    old = np.zeros(len(rows), dtype=bool)
    old[replaced.to_numpy()] = True
    same, alike = (_again(contents, old) for contents in (rows, rows.drop("label")))
    return rows.filter(pl.Series(~old)), Again(int(old.sum()) - same, same, max(alike - same, 0))


def _again(rows: pl.DataFrame, old: NDArray[np.bool_]) -> int:
    """How many of the `old` rows stand among the others, too."""
    contents = pl.DataFrame({"content": rows.hash_rows()})
    return len(contents.filter(pl.Series(old)).join(contents.filter(pl.Series(~old)), on="content", how="semi"))


def _inside(times: pl.Series, spans: Sequence[tuple[int, int]]) -> pl.Series:
    seconds, (starts, ends) = times.to_numpy(), np.array(spans, dtype=np.int64).T
    at = np.searchsorted(starts, seconds, side="right") - 1
    return pl.Series((at >= 0) & (seconds <= ends[at]))


def _replaced(seen: pl.DataFrame) -> pl.Series:
    """The `row` numbers that a later delivery replaces."""
    counted = seen.lazy().group_by("key", "object").agg(n=pl.len().cast(pl.Int64))
    last = (pl.col("object").cast(pl.Int64) * 2**32 + pl.col("n")).max()
    groups = counted.group_by("key").agg(objects=pl.len(), most=pl.col("n").max(), last=last)
    several = groups.filter(pl.col("objects") > 1)
    again = seen.lazy().join(several, on="key", how="inner").collect(engine="streaming")
    whole = pl.col("last") % 2**32 == pl.col("most")  # the latest delivery holds as many as any: it replaces all
    simple = again.filter(whole & (pl.col("object") < pl.col("last") // 2**32))["row"]
    partial = again.filter(~whole).select("key", "object", "cents", "row").sort("key", "object", "row")
    by_key = groupby(partial.iter_rows(), key=itemgetter(0))
    by_amount = [row for _, group in by_key for row in _by_amount(group)]
    return pl.concat([simple, pl.Series(by_amount, dtype=pl.UInt32)])


Row = tuple[int, int, int, int]  # key, object, cents, row


def _by_amount(group: Iterable[Row]) -> list[int]:
    """The rows of one minute, card and merchant that later deliveries replace, though these hold fewer of them."""
    standing: list[Row] = []
    seen: list[int] = []
    for _, rows in groupby(group, key=itemgetter(1)):
        delivery = list(rows)
        seen += [row[3] for row in delivery]
        standing = _delivered(standing, delivery)
    left = {row[3] for row in standing}
    return [row for row in seen if row not in left]


def _delivered(standing: Sequence[Row], delivery: Sequence[Row]) -> list[Row]:
    """What stands after a delivery: it replaces equal amounts first, then the others in their order; one pass."""
    waiting: dict[int, deque[int]] = {}
    for position, old in enumerate(standing):
        waiting.setdefault(old[2], deque()).append(position)
    matched, new, other = set[int](), [], []
    for one in delivery:
        if waiting.get(one[2]):
            matched.add(waiting[one[2]].popleft())
            new.append(one)
        else:
            other.append(one)
    before = [old for position, old in enumerate(standing) if position not in matched]
    return [*before[len(other) :], *new, *other]
