"""Intake windows: when one closes, and which objects a run learns from.

The window is a counter. An arrival joins epoch n only while the header still says n; closing makes n into n + 1 in the
transaction that makes run `<model>-<n>`. So an object is in exactly one epoch, and an epoch is exactly one run.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from statemachine.core.policy import IntakePolicy, Policy
from statemachine.core.run import Trigger

SIDE_FILES = ("._COPYING_", ".crc", "_$folder$")


class Status(Enum):
    """PENDING until a run has checked it; QUARANTINED and SUPERSEDED (overwritten) teach no more.

    MARKER and IGNORED (another program's side file) never did.
    """

    PENDING = "PENDING"
    ACCEPTED = "ACCEPTED"
    QUARANTINED = "QUARANTINED"
    SUPERSEDED = "SUPERSEDED"
    MARKER = "MARKER"
    IGNORED = "IGNORED"

    @property
    def teaches(self) -> bool:
        """A run may learn from it."""
        return self in (Status.PENDING, Status.ACCEPTED)


@dataclass(frozen=True)
class Object:
    """One write of one S3 key. Its identity is bucket + key + etag; the version id is only how to fetch it."""

    bucket: str
    key: str
    etag: str
    version_id: str = ""
    size: int = 0
    sequencer: str = ""
    arrived_at: float = 0.0
    epoch: int = 0
    status: Status = Status.PENDING
    reason: str = ""
    version: int = 0

    @property
    def identity(self) -> str:
        """Never expires; a listing has no version ids, hence the etag."""
        return hashlib.sha256(f"{self.bucket}\n{self.key}\n{self.etag}".encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Window:
    """The open window of a model, which is epoch `epoch`. `asked` is a wish to close it now."""

    model: str
    epoch: int = 1
    version: int = 0
    opened_at: float = 0.0
    newest_at: float = 0.0
    count: int = 0
    asked: Trigger | None = None
    last_slot: str = ""


def closing(window: Window, policy: IntakePolicy, now: float) -> Trigger | None:
    """Why the window should close now; `None` while it should stay open."""
    if window.asked is not None:
        return window.asked
    if not window.count:
        return None
    if window.count >= policy.max_objects:
        return Trigger("arrival", why=f"{window.count} objects, the most a window holds")
    if now >= window.newest_at + policy.quiet_period:
        return Trigger("arrival", why=f"{window.count} objects, then quiet for {policy.quiet_period:.0f} s")
    if now >= window.opened_at + policy.max_wait:
        return Trigger("arrival", why=f"{window.count} objects in {policy.max_wait:.0f} s, the longest a window waits")
    return None


@dataclass(frozen=True)
class Admission:
    """What becomes of an arriving object: the model whose window it joins, or the reason why it is set aside.

    `ignored` if it was never meant to be data: then nobody is alarmed.
    """

    model: str
    reason: str = ""
    marker: bool = False
    ignored: bool = False


def admit(thing: Object, bucket: str, policies: Mapping[str, Policy]) -> Admission:
    """Which model an object belongs to, and whether it may teach it."""
    if thing.bucket != bucket:
        return Admission("", f"bucket {thing.bucket} is not the data bucket {bucket}")
    policy = next((p for p in policies.values() if thing.key.startswith(p.prefix)), None)
    if policy is None:
        return Admission("", f"no model has a prefix of {thing.key!r}")
    if ".." in thing.key.split("/"):
        return Admission(policy.model, "the key has a '..' segment")
    hidden = side_file(thing.key, policy.prefix, policy.intake.success_marker)
    if hidden:
        said = f"{hidden!r} in the key: a side file of Spark, Hive, Databricks or the like, never data"
        return Admission(policy.model, said, ignored=True)
    if thing.key.rsplit("/", 1)[-1] == policy.intake.success_marker:
        return Admission(policy.model, marker=True)
    if thing.key.endswith("/"):
        return Admission(policy.model, "a folder, not a file")
    if thing.size == 0:
        return Admission(policy.model, "the file is empty")
    if thing.size > policy.intake.max_object_bytes:
        return Admission(
            policy.model, f"{thing.size} bytes, more than max_object_bytes = {policy.intake.max_object_bytes}"
        )
    return Admission(policy.model)


def side_file(key: str, prefix: str, marker: str = "") -> str:
    """The part of a key below `prefix` by which it is no data but another program's side file; "" if it is data.

    The rule is Spark's own for what it does not read (`HadoopFSUtils.shouldFilterOutPathName`): names that begin with
    `.`, or with `_` unless they hold a `=` (a partition), or end in `._COPYING_`. Checksums and EMR's folder markers
    are added. A name that is all of `marker` is no side file, unless it lies in a hidden folder.
    """
    names = key.split("/")[prefix.count("/") + (0 if prefix.endswith("/") or not prefix else 1) :]
    if names and names[-1] == marker:
        names.pop()
    return next((name for name in names if _hidden(name)), "")


def _hidden(name: str) -> bool:
    return name.startswith(".") or (name.startswith("_") and "=" not in name) or name.endswith(SIDE_FILES)


def is_news(thing: Object, known: Object | None) -> bool:
    """An arriving object is not on record yet, or was overwritten and has returned under its key."""
    return known is None or (known.status is Status.SUPERSEDED and later(thing, known))


def rewritten(thing: Object, known: Object | None) -> Object | None:
    """What is on record, as the newest write of its key, if content that still teaches was written once more."""
    if known is None or not known.status.teaches or not later(thing, known):
        return None
    return replace(
        known,
        version_id=thing.version_id,
        sequencer=thing.sequencer,
        arrived_at=thing.arrived_at,
        version=known.version + 1,
    )


def data_set(objects: Iterable[Object], epoch: int) -> tuple[Object, ...]:
    """What the run of `epoch` learns from: all objects so far that are not set aside, the newest write of each key."""
    newest: dict[tuple[str, str], Object] = {}
    for thing in objects:
        if thing.epoch > epoch or not thing.status.teaches:
            continue
        known = newest.get((thing.bucket, thing.key))
        if known is None or later(thing, known):
            newest[(thing.bucket, thing.key)] = thing
    return tuple(sorted(newest.values(), key=lambda thing: (thing.bucket, thing.key)))


def judged(objects: Iterable[Object], verdicts: Mapping[str, Object], run_id: str, epoch: int) -> Iterator[Object]:
    """The objects that change by a stage's `verdicts` (by identity), and the writes that an accepted one supersedes."""
    before = [thing for thing in objects if thing.epoch <= epoch and thing.status.teaches]
    after = [_verdict(thing, verdicts.get(thing.identity)) for thing in before]
    chosen = {(thing.bucket, thing.key): thing for thing in data_set(after, epoch)}
    for old, new in zip(before, after, strict=True):
        newest = chosen.get((new.bucket, new.key), new)
        if new.status.teaches and newest is not new and newest.status is Status.ACCEPTED:
            said = f"overwritten by the write with etag {newest.etag}, which {run_id} learned from"
            yield replace(new, status=Status.SUPERSEDED, reason=said)
        elif new != old:
            yield new


def _verdict(thing: Object, verdict: Object | None) -> Object:
    return replace(thing, status=verdict.status, reason=verdict.reason) if verdict else thing


def later(one: Object, other: Object) -> bool:
    """`one` is the later write of the same key. Sequencers are hex, compared after padding (S3 user guide)."""
    if one.sequencer and other.sequencer:
        width = max(len(one.sequencer), len(other.sequencer))
        return one.sequencer.rjust(width, "0").lower() > other.sequencer.rjust(width, "0").lower()
    return one.arrived_at > other.arrived_at
