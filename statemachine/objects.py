"""Where objects are kept: each in its epoch, so that a run reads what is new and not all there ever was.

EPOCH#<model>#<n>   <identity>     an object that joined epoch n (0: set aside before it joined any, and markers)
EPOCH#<model>#<n>   REMOVED#…      while epoch n was open, a person set aside an object that the index may hold
KEYS#<model>        <key>          the head of a key: its writes, newest first
ASIDE#<model>       <identity>     what was ever quarantined, once more: a short list to read
OBJECTS#<model>     <identity>     the old layout: all objects of the model. Read until the index covers them
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from statemachine.core import codec
from statemachine.core.head import Head
from statemachine.core.window import Object, Status
from statemachine.ports import Clause, Key, Put, Table

REMOVED = "REMOVED#"


@dataclass(frozen=True)
class Objects:
    """The objects of every model in the table."""

    table: Table

    # -- reading ------------------------------------------------------------------------------------------------

    def at(self, model: str, place: str) -> Object | None:
        """The object in that place."""
        item = self.table.get(_key(model, place))
        return (_read(item) if "/" in place else _read_old(item)) if item else None

    def of_epoch(self, model: str, epoch: int) -> Iterator[Object]:
        """The objects of one epoch: one query over just those."""
        items = self.table.query(_pk(model, epoch))
        return (_read(item) for item in items if item["type"] == "object")

    def of_old_layout(self, model: str) -> Iterator[Object]:
        """The objects that an earlier release took in."""
        return (_read_old(item) for item in self.table.query(f"OBJECTS#{model}"))

    def removed(self, model: str, epochs: Iterable[int]) -> Iterator[Object]:
        """What was set aside in those epochs and still is."""
        places = {str(item["place"]) for n in epochs for item in self.table.query(_pk(model, n), REMOVED)}
        found = (self.at(model, place) for place in sorted(places))
        return (obj for obj in found if obj and obj.status is Status.QUARANTINED)

    def aside(self, model: str) -> Iterator[Object]:
        """What is quarantined."""
        found = (_read(item) for item in self.table.query(f"ASIDE#{model}"))
        return (obj for obj in found if obj.status is Status.QUARANTINED)

    def head(self, model: str, key: str) -> Head:
        """The head of one key."""
        item = self.table.get(Key(f"KEYS#{model}", key))
        return _read_head(item) if item else Head(key)

    def heads(self, model: str, keys: Iterable[str]) -> dict[str, Head]:
        """The heads of the keys of one page of a listing: one query over their range."""
        heads = {key: Head(key) for key in keys}
        for item in self.table.between(f"KEYS#{model}", min(heads, key=str.encode), max(heads, key=str.encode)):
            if item["object_key"] in heads:
                heads[str(item["object_key"])] = _read_head(item)
        return heads

    # -- what is written ----------------------------------------------------------------------------------------

    def changed(self, model: str, obj: Object, writer: str) -> list[Put]:
        """The object as it is now, and in the short list if it is or was quarantined."""
        put = _put_object(model, replace(obj, version=obj.version + 1), writer)
        return [put, *self._aside(model, obj, writer)]

    def new(self, model: str, obj: Object, writer: str) -> list[Put]:
        """An object that was not on record."""
        return [_put_object(model, obj, writer), *self._aside(model, obj, writer)]

    def superseded(self, model: str, obj: Object, writer: str) -> Put:
        """An object where it no longer is; the short list tells of it as what it is now."""
        return _put_object(model, replace(obj, version=obj.version + 1), writer)

    def _aside(self, model: str, obj: Object, writer: str) -> list[Put]:
        key = Key(f"ASIDE#{model}", obj.identity)
        before = self.table.get(key) if obj.status is Status.QUARANTINED or obj.reason else None
        if before is None and obj.status is not Status.QUARANTINED:
            return []
        listed = int(before["listed"]) if before else 0
        clause = (
            Clause("the short list was not changed", "listed", listed) if before else Clause("it is new in the list")
        )
        return [Put(key, {**_item(model, obj, writer), "listed": listed + 1}, clause)]


def put_head(model: str, head: Head, writer: str) -> Put:
    """The head of a key, on condition that it was not changed since it was read."""
    item = {
        "type": "head",
        "format": codec.FORMAT,
        "version": head.version,
        "writer": writer,
        "model": model,
        "object_key": head.key,
        "body": codec.dumps(head),
    }
    new = Clause("the key is new")
    changed = Clause("the key was not written meanwhile", "version", head.version - 1)
    return Put(Key(f"KEYS#{model}", head.key), item, new if head.version == 1 else changed)


def put_removed(model: str, obj: Object, epoch: int, once: int, writer: str) -> Put:
    """A removal that the manifest of `epoch` carries; `once` is a number that no other removal of it has."""
    key = Key(_pk(model, epoch), f"{REMOVED}{once:012d}#{obj.identity}")
    item = {"type": "removed", "writer": writer, "model": model, "place": obj.place, "object_key": obj.key}
    return Put(key, item, Clause("the removal is recorded once"))


def _pk(model: str, epoch: int) -> str:
    return f"EPOCH#{model}#{epoch}"


def _key(model: str, place: str) -> Key:
    epoch, _, identity = place.rpartition("/")
    return Key(_pk(model, int(epoch)), identity) if epoch else Key(f"OBJECTS#{model}", identity)


def _read(item: Mapping[str, Any]) -> Object:
    return codec.loads(Object, str(item["body"]), int(item.get("format", 0)))


def _read_old(item: Mapping[str, Any]) -> Object:
    return replace(_read(item), old=True)


def _read_head(item: Mapping[str, Any]) -> Head:
    return codec.loads(Head, str(item["body"]), int(item.get("format", 0)))


def _item(model: str, obj: Object, writer: str) -> dict[str, Any]:
    return {
        "type": "object",
        "format": codec.FORMAT,
        "version": obj.version,
        "writer": writer,
        "model": model,
        "object_key": obj.key,
        "status": obj.status.value,
        "reason": obj.reason,
        "body": codec.dumps(obj),
    }


def _put_object(model: str, obj: Object, writer: str) -> Put:
    new = Clause("the object is new")
    changed = Clause("the object was not changed meanwhile", "version", obj.version - 1)
    return Put(_key(model, obj.place), _item(model, obj, writer), new if obj.version == 1 else changed)
