"""What a data set says of each entity, in the form of the online store's records."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.data.parser import NEVER
from training.live.definition import DAY, LATE, LiveDefinition
from training.live.definition import NEVER as NO_DAY
from training.live.keys import EntityHash, as_number
from training.live.record import DAYS, KEPT_DAYS, KEPT_REPORTS, REPORTS


@dataclass(frozen=True)
class EntityContents:
    """Of one entity: its hash, and the three parts of its record as bytes."""

    hashed: bytes
    days: bytes
    reports: bytes
    entries: bytes


@dataclass(frozen=True)
class DatasetContents:
    """The rows of a data set before `until`, sorted by time, as entries; by relation each row's entity."""

    definition: LiveDefinition
    entries: NDArray[np.void]
    codes: dict[str, NDArray[np.int64]]
    hashes: dict[str, list[bytes]]

    @classmethod
    def of(
        cls, table: pl.DataFrame, state: NDArray[np.float32], definition: LiveDefinition, entity_hash: EntityHash
    ) -> "DatasetContents":
        """From the data set's table, sorted by time, and the states [N, S] of its rows."""
        sides = definition.data.relations
        codes, hashes, numbers = {}, {}, {}
        for side in sides:
            keys, codes[side] = np.unique(table[f"{side}_key"].to_numpy(), return_inverse=True)
            hashes[side] = [entity_hash.of(side, key) for key in keys.tolist()]
            numbers[side] = np.array([as_number(one) for one in hashes[side]], dtype=np.uint64)[codes[side]]
        clean = {name: table[f"clean_{name}"] for name in definition.data.source} | {"time": table["time"]}
        entries = definition.entries(_plain(clean, definition), numbers, state)
        known = table["known_at"].to_numpy()
        entries["known"] = np.where(known < NEVER, np.minimum(known // DAY, NO_DAY), NO_DAY)
        entries["fraud"] = table["label"].to_numpy() == 1
        return cls(definition, entries, codes, hashes)

    @cached_property
    def as_of(self) -> int:
        """The time of the newest row."""
        return int(self.entries["time"][-1])

    def chunks(self, side: str, until: int, size: int, first: int = 0) -> Iterator[list[EntityContents]]:
        """The entities of a relation in the order of their keys, `size` at a time from number `first` on.

        Entries and days hold what is before `until`, reports all labels that are known.
        """
        order = np.lexsort((np.arange(len(self.entries)), self.codes[side]))  # by entity, then time
        bounds = np.searchsorted(self.codes[side][order], np.arange(len(self.hashes[side]) + 1))
        for start in range(first, len(self.hashes[side]), size):
            numbers = range(start, min(start + size, len(self.hashes[side])))
            yield [self._entity(side, n, self.entries[order[bounds[n] : bounds[n + 1]]], until) for n in numbers]

    def _entity(self, side: str, number: int, rows: NDArray[np.void], until: int) -> EntityContents:
        before = rows[: int(np.searchsorted(rows["time"], until))][::-1]
        fresh = int(np.count_nonzero(before["time"] >= before["time"][0] - LATE)) if len(before) else 0
        kept = before[: min(fresh + self.definition.k, self.definition.most)]
        return EntityContents(self.hashes[side][number], _days(before), self._reports(rows), kept.tobytes())

    def _reports(self, rows: NDArray[np.void]) -> bytes:
        day = rows["known"]
        told = rows[(day < NO_DAY) & (day >= self.as_of // DAY - KEPT_REPORTS)]
        days, at = np.unique(told["known"], return_inverse=True)
        made = np.zeros(len(days), REPORTS)
        made["day"] = days
        made["known"] = np.bincount(at, minlength=len(days))
        made["frauds"] = np.bincount(at, weights=told["fraud"], minlength=len(days))
        return made.tobytes()


def _days(rows: NDArray[np.void]) -> bytes:
    """Counts by day of rows that are sorted by time, newest first."""
    days, at = np.unique(-(rows["time"] // DAY), return_inverse=True)
    made = np.zeros(len(days), DAYS)
    made["day"] = -days
    made["count"] = np.bincount(at, minlength=len(days))
    np.add.at(made["cents"], at, rows["clean cents"].astype(np.int64))
    return made[:KEPT_DAYS].tobytes()


def _plain(clean: dict[str, pl.Series], definition: LiveDefinition) -> dict[str, object]:
    """Texts as lists, all else as arrays."""
    return {
        name: values.cast(pl.String).to_list() if name in definition.texts else values.to_numpy()
        for name, values in clean.items()
    }
