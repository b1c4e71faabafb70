"""The table in memory: conditional, transactional, with its index of due runs."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, field

from statemachine.contracts.errors import Conflict, Unreachable
from statemachine.contracts.limits import check_write
from statemachine.ports import Clause, Item, Key, Put


@dataclass
class MemoryTable:
    """`Table` in a dict. `writes` and `reads` count what DynamoDB would bill as requests; `stream` is its stream."""

    items: dict[Key, Item] = field(default_factory=dict)
    stream: list[Item] = field(default_factory=list)
    down: bool = False
    lose_answers: int = 0
    reads: int = 0
    writes: int = 0
    partitions: dict[str, list[str]] = field(default_factory=dict)

    def get(self, key: Key) -> Item | None:
        """The item."""
        self.reads += 1
        return self.items.get(key)

    def query(self, pk: str, prefix: str = "", *, newest_first: bool = False) -> Iterator[Item]:
        """The items of a partition."""
        self.reads += 1
        found = self._range(pk, prefix, prefix + "\U0010ffff")
        yield from reversed(found) if newest_first else found

    def between(self, pk: str, first: str, last: str) -> Iterator[Item]:
        """The items of a range."""
        self.reads += 1
        yield from self._range(pk, first, last)

    def _range(self, pk: str, first: str, last: str) -> list[Item]:
        known = self.partitions.get(pk, [])
        return [self.items[Key(pk, sk)] for sk in known[bisect_left(known, first) : bisect_right(known, last)]]

    def due(self, now: float) -> Iterator[str]:
        """Runs that are due."""
        self.reads += 1
        found = [item for item in self.items.values() if "due_shard" in item and item["due_at"] <= now]
        yield from [str(item["run_id"]) for item in sorted(found, key=lambda item: float(item["due_at"]))]

    def write(self, *puts: Put) -> None:
        """All or nothing, within DynamoDB's limits."""
        check_write([(put.key.pk, put.attributes) for put in puts])
        assert len({put.key for put in puts}) == len(puts), "a transaction names an item twice"
        failed = [put for put in puts if not self._holds(put.key, put.clause)]
        if any(self.items.get(put.key, {}).get("writer") == put.item["writer"] for put in failed):
            return
        if failed:
            raise Conflict(", ".join(put.clause.name for put in failed), ", ".join(put.key.pk for put in failed))
        if self.lose_answers == 0 and self.down:
            raise Unreachable("DynamoDB does not answer")
        for put in puts:
            if put.key not in self.items:
                insort(self.partitions.setdefault(put.key.pk, []), put.key.sk)
            self.items[put.key] = dict(put.item)
            self.stream.append(put.item)
            self.writes += 2 if len(puts) > 1 else 1
        if self.lose_answers:
            self.lose_answers -= 1
            raise Unreachable("the answer to a write was lost")

    def _holds(self, key: Key, clause: Clause) -> bool:
        item = self.items.get(key)
        if not clause.attribute:
            return item is None
        return item is not None and item.get(clause.attribute) == clause.value
