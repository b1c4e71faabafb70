"""A table in memory that is fast with many runs, and counts what DynamoDB would bill."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from simulation.memory.table import MemoryTable
from statemachine.ports import SHARDS, Item, Key, Put

READ_KB, WRITE_KB = 4, 1  # of one request unit
PER_ITEM = 100  # bytes that DynamoDB adds to each indexed item


@dataclass
class MeteredTable(MemoryTable):
    """`read_units` and `write_units` are request units: strongly consistent reads, writes doubled in a transaction.

    The index of due runs is billed too: an entry that changes its `due_at` is a deletion and a put.
    """

    read_units: float = 0.0
    write_units: float = 0.0
    waiting: dict[str, float] = field(default_factory=dict)

    def get(self, key: Key) -> Item | None:
        """The item."""
        item = super().get(key)
        self.read_units += _units(_size(item) if item else 0, READ_KB)
        return item

    def _range(self, pk: str, first: str, last: str) -> list[Item]:
        found = super()._range(pk, first, last)
        self.read_units += _units(sum(map(_size, found)), READ_KB)  # what a page reads is rounded as a whole
        return found

    def due(self, now: float) -> Iterator[str]:
        """Runs that are due: one eventually consistent query a shard."""
        self.reads += SHARDS
        found = [run_id for run_id, due_at in self.waiting.items() if due_at <= now]
        self.read_units += SHARDS * max(1, math.ceil(len(found) / SHARDS * PER_ITEM / READ_KB / 1024)) / 2
        yield from found

    def write(self, *puts: Put) -> None:
        """All or nothing."""
        before = {put.key: self.items.get(put.key) for put in puts}
        super().write(*puts)
        for put in puts:
            self._bill(put, before[put.key], 2 if len(puts) > 1 else 1)

    def _bill(self, put: Put, old: Item | None, times: int) -> None:
        self.write_units += times * _units(_size(put.item), WRITE_KB)
        if put.item.get("type") != "run":
            return
        was, is_ = (old or {}).get("due_at"), put.item.get("due_at")
        self.write_units += 0 if was == is_ else (was is not None) + (is_ is not None)
        run_id = put.key.pk.removeprefix("RUN#")
        self.waiting.pop(run_id, None)
        if is_ is not None:
            self.waiting[run_id] = float(is_)


def _units(size: int, per_kb: int) -> int:
    return max(1, math.ceil(size / 1024 / per_kb))


def _size(item: Item) -> int:
    return sum(len(name) + len(str(value)) for name, value in item.items()) + PER_ITEM
