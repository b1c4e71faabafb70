"""The head of a key: its writes that are on record, newest first. It says whether a write is new, and where it belongs.

A write is known if its content is the newest one on record, or if it was delivered before. So after A and B, A again is
new; the same event twice, also long after, is not. A listing says what the key holds *now*, without a sequencer.
"""

from dataclasses import dataclass, replace

from statemachine.core.window import Object, later

RECENT = 20  # writes that a head remembers; an event that comes later than so many others is passed over
SKEW = 60.0  # seconds: a listing does not overrule a write that came while it was made


@dataclass(frozen=True)
class Write:
    """One write, and the place of its object in the table. `order` grows with each newer write of the key."""

    bucket: str
    etag: str
    sequencer: str
    arrived_at: float
    place: str
    order: float


@dataclass(frozen=True)
class Head:
    """What is on record of one key. `made` counts all its writes ever."""

    key: str
    writes: tuple[Write, ...] = ()
    made: int = 0
    version: int = 0


def joined(head: Head, obj: Object, epoch: int, listed_at: float = 0.0) -> tuple[Head, Object] | None:
    """The head and the object as they stand once `obj` is in `epoch`; `None` if that write is known."""
    if not head.writes:
        return _inserted(head, obj, 0, epoch)
    if _known(head, obj):
        return None
    if listed_at:
        fresh = head.writes[0].arrived_at < listed_at - SKEW
        return _inserted(head, obj, 0, epoch) if fresh else None
    older = [at for at, write in enumerate(head.writes) if later(obj, _as_object(obj.key, write))]
    at = older[0] if older else len(head.writes)
    return _inserted(head, obj, at, epoch) if at < RECENT else None


def advanced(head: Head, obj: Object) -> Head | None:
    """The head once its newest content was written again, later: what lies between the two is older. Else `None`."""
    newest = head.writes[0] if head.writes else None
    if newest is None or not obj.sequencer or (newest.bucket, newest.etag) != (obj.bucket, obj.etag):
        return None
    if newest.sequencer and not later(obj, _as_object(obj.key, newest)):
        return None
    again = replace(newest, sequencer=obj.sequencer, arrived_at=max(newest.arrived_at, obj.arrived_at))
    return replace(head, writes=(again, *head.writes[1:]), version=head.version + 1)


def _known(head: Head, obj: Object) -> bool:
    newest = head.writes[0]
    if (newest.bucket, newest.etag) == (obj.bucket, obj.etag):
        return True
    same = [write for write in head.writes if (write.bucket, write.etag) == (obj.bucket, obj.etag)]
    again = any(obj.sequencer and write.sequencer == obj.sequencer for write in same)
    behind = bool(obj.sequencer) and not later(obj, _as_object(obj.key, newest))
    return again or (behind and bool(same))


def _inserted(head: Head, obj: Object, at: int, epoch: int) -> tuple[Head, Object]:
    newer, older = head.writes[at - 1] if at else None, head.writes[at] if at < len(head.writes) else None
    whole = head.made < RECENT and all(write.etag != obj.etag for write in head.writes)
    above = newer.order if newer else (older.order if older else 0.0) + 2.0
    there = replace(
        obj,
        epoch=epoch,
        version=1,
        write=1 if whole else head.made + 1,
        order=(above + (older.order if older else 0.0)) / 2,
        over=older.place if older else "",
        under=head.writes[0].place if newer else "",
    )
    write = Write(there.bucket, there.etag, there.sequencer, there.arrived_at, there.place, there.order)
    writes = (*head.writes[:at], write, *head.writes[at:])[:RECENT]
    return replace(head, writes=writes, made=head.made + 1, version=head.version + 1), there


def moved(head: Head, before: str, obj: Object) -> Head:
    """The head after the object at `before` moved to `obj.place`."""
    writes = tuple(replace(w, place=obj.place) if w.place == before else w for w in head.writes)
    return replace(head, writes=writes, version=head.version + 1)


def _as_object(key: str, write: Write) -> Object:
    return Object(write.bucket, key, write.etag, sequencer=write.sequencer, arrived_at=write.arrived_at)
