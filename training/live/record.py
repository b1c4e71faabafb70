"""The state of one entity: one value in the online store, which two scripts and this module read and write.

    header   format u8, day rows u16, report rows u16, counter u32, until i64
    days     newest first: day u16, transactions u32, minor units i64           (the last 32 days that had any)
    reports  oldest first: report day u16, labels u32, frauds u32               (of the last 366 days, and to come)
    entries  newest first: `LiveDefinition.entry`                               (the last k and what came just now)

`counter` counts what was ever appended. A data set was brought in up to `until`; later transactions came as payments.
"""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.live.definition import DAY, FORMAT, LiveDefinition

HEADER = struct.Struct("<BHHIq")
DAYS = np.dtype([("day", "<u2"), ("count", "<u4"), ("cents", "<i8")])
REPORTS = np.dtype([("day", "<u2"), ("known", "<u4"), ("frauds", "<u4")])
KEPT_DAYS, KEPT_REPORTS = 32, 366


class Damaged(ValueError):
    """A value in the store is not a record of this format; the message says what it is."""


@dataclass(frozen=True)
class EntityState:
    """One entity as it is in the store; all parts may be empty."""

    counter: int
    until: int
    days: NDArray[np.void]
    reports: NDArray[np.void]
    entries: NDArray[np.void]

    def dumps(self) -> bytes:
        """The value in the store."""
        header = HEADER.pack(FORMAT, len(self.days), len(self.reports), self.counter, self.until)
        return header + self.days.tobytes() + self.reports.tobytes() + self.entries.tobytes()

    def later(self, time: int) -> int:
        """How many of its entries are not strictly earlier than `time`; they come first."""
        return int(np.count_nonzero(self.entries["time"] >= time))

    def seen(self, time: int) -> int:
        """How many transactions were ever appended that are strictly earlier than `time`, as the script counts them."""
        return self.counter - self.later(time)

    def volumes(self, time: int, spans: tuple[int, ...]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Counts and sums of the amount (minor units) of strictly earlier transactions, over calendar days.

        A span of N days is the day of `time` and the N − 1 before it. Entries of that day that are not earlier are
        taken off.
        """
        today = time // DAY
        after = self.entries[: self.later(time)]
        after = after[after["time"] // DAY == today]
        day = self.days["day"].astype(np.int64)
        counts, sums = [], []
        for span in spans:
            inside = (day > today - span) & (day <= today)
            counts.append(int(self.days["count"][inside].sum()) - len(after))
            sums.append(int(self.days["cents"][inside].sum()) - int(after["clean cents"].astype(np.int64).sum()))
        return np.array(counts, dtype=np.float32), np.array(sums, dtype=np.float64)

    def risks(self, time: int, spans: tuple[int, ...]) -> NDArray[np.float32]:
        """Labels [len(spans)] that were reported in the N days before the day of `time`, then the frauds among them."""
        today, day = time // DAY, self.reports["day"].astype(np.int64)
        inside = [(day >= today - span) & (day < today) for span in spans]
        counts = [self.reports[what][one].sum() for what in ("known", "frauds") for one in inside]
        return np.array(counts, dtype=np.float32)


def loads(value: bytes | None, definition: LiveDefinition) -> EntityState:
    """The record of a value; of None an empty one.

    Raises:
        Damaged: it is none of this format.
    """
    empty = np.zeros(0, definition.entry)
    if value is None:
        return EntityState(0, 0, np.zeros(0, DAYS), np.zeros(0, REPORTS), empty)
    if len(value) < HEADER.size or value[0] != FORMAT:
        raise Damaged(f"a record begins with {value[:1].hex() or 'nothing'}; expected format {FORMAT}")
    _, days, reports, counter, until = HEADER.unpack_from(value)
    first = HEADER.size + days * DAYS.itemsize
    start = first + reports * REPORTS.itemsize
    size = definition.entry.itemsize
    if len(value) < start or (len(value) - start) % size:
        raise Damaged(f"a record of {len(value)} bytes does not hold {days} days, {reports} reports and whole entries")
    return EntityState(
        counter,
        until,
        np.frombuffer(value, DAYS, days, HEADER.size),
        np.frombuffer(value, REPORTS, reports, first),
        np.frombuffer(value, definition.entry, -1, start),
    )
