"""Deletes what the online store knows of one entity: its record, its entries at other entities, its answers' log."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from training.data.declaration import Declaration, Entity
from training.data.parser import digits
from training.live.client import definitions, opened
from training.live.definition import LiveDefinition
from training.live.keys import EntityHash, Names, as_number
from training.live.record import Damaged, loads
from training.live.settings import LiveSettings, variable
from training.outcome import Permanent
from training.scorelog.record import stream

PAGE = 500
WHOLE = re.compile(r"-?[0-9]{1,20}")
# What changed between the look and the write is left for the next look.
SWAP = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1
"""
Progress = Callable[[str, Mapping[str, float]], None]


@dataclass(frozen=True)
class Forgotten:
    """What was deleted: records of the entity, its entries at other entities, and its answers that wait in the log.

    `unread`: records of a definition that was never materialised, or of another secret, and damaged ones. They stay
    until they expire, or the next night replaces them.
    """

    records: int
    entries: int
    logged: int
    unread: int = 0


def key_of(data: Declaration, side: str, values: list[str]) -> int:
    """The 64-bit key of the entity with these values of its columns; of one column, a name that holds commas is one.

    Raises:
        Permanent: there is no such relation, or the values are not its columns'.
    """
    if side not in data.entities:
        raise Permanent(f"there is no entity {side!r}; the model's data declare {', '.join(data.entities)}")
    entity = data.entities[side]
    values = [",".join(values)] if len(entity.columns) == 1 else values
    if len(values) != len(entity.columns):
        raise Permanent(f"{side} is {len(entity.columns)} values ({', '.join(entity.columns)}), not {len(values)}")
    return _whole(side, entity, values) if entity.whole else digits(values, data.salt)


def _whole(side: str, entity: Entity, values: list[str]) -> int:
    key = 0
    for column, value, (low, high) in zip(entity.columns, values, entity.whole, strict=True):
        if not WHOLE.fullmatch(value) or not low <= int(value) <= high:
            raise Permanent(f"{side}: {column} is {value[:40]!r}, expected a whole number in {low} … {high}")
        key = int(value) if len(values) == 1 else key * (high - low + 1) + int(value) - low
    return key


def forget(
    model: str, data: Declaration, side: str, key: int, settings: LiveSettings, progress: Progress = lambda *_: None
) -> Forgotten:
    """Delete an entity from all definitions of the model. It walks all records of all relations.

    Raises:
        Permanent: no store is set.
        Transient: the store does not answer, or refuses.
    """
    if settings.missing:
        raise Permanent(f"there is {settings.missing}: set {variable('url')} and {variable('entity_key')}")
    hashed, ours = EntityHash(settings.entity_key).of(side, key), Names.of(model, "", settings.entity_key)
    root = ours.root
    with opened(settings) as store:
        names = list(store.scan_iter(match=f"{root}:*:{side}:{hashed.hex()}", count=PAGE))
        records = int(store.delete(*names)) if names else 0
        walked, entries, unread = 0, 0, 0
        known = definitions(store, model, data)
        for name in store.scan_iter(match=f"{root}:*:*:*", count=PAGE):
            definition = known.get(ours.definition_of(name.decode()))
            removed = _taken_off(store, name, definition, side, as_number(hashed))
            entries, unread, walked = entries + max(removed, 0), unread + (removed < 0), walked + 1
            if walked % (20 * PAGE) == 0:
                progress("records", {"walked": walked, "entries": entries})
        return Forgotten(records, entries, _logged(store, model, side, hashed), unread)


def _taken_off(store: Any, name: bytes, definition: LiveDefinition | None, side: str, number: int) -> int:
    """How many entries of the entity were taken off a record; -1 if it cannot be read."""
    if definition is None:
        return -1
    while (value := store.get(name)) is not None:
        try:
            state = loads(value, definition)
        except Damaged:
            return -1
        kept = state.entries[state.entries[f"key {side}"] != number]
        removed = len(state.entries) - len(kept)
        if not removed or store.eval(SWAP, 1, name, value, replace(state, entries=kept).dumps()):
            return removed
    return 0


def _logged(store: Any, model: str, side: str, hashed: bytes) -> int:
    """Answers deleted that still waited in the stream for the archiver."""
    mark, deleted, after = f"key:{side}={hashed.hex()};".encode(), 0, "-"
    while page := store.xrange(stream(model), min=after, count=PAGE):
        found = [number for number, fields in page if mark in fields.get(b"transaction", b"")]
        deleted += store.xdel(stream(model), *found) if found else 0
        after = f"({page[-1][0].decode()}"
    return deleted
