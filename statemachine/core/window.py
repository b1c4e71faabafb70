"""Intake windows: when one closes, and which objects a run trains on.

The window is a counter. An arrival joins epoch n only while the header still says n; closing makes n into n + 1 in the
transaction that makes run `<model>-<n>`. So an object is in exactly one epoch, and an epoch is exactly one run.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from statemachine.contracts.object_kind import ObjectKind
from statemachine.contracts.side_files import side_file
from statemachine.core.policy import IntakePolicy, Policy
from statemachine.core.run import Trigger


class Status(Enum):
    """PENDING until a run has checked it; QUARANTINED and SUPERSEDED (overwritten) are excluded.

    MARKER and IGNORED (another program's side file) are never data.
    """

    PENDING = "PENDING"
    ACCEPTED = "ACCEPTED"
    QUARANTINED = "QUARANTINED"
    SUPERSEDED = "SUPERSEDED"
    MARKER = "MARKER"
    IGNORED = "IGNORED"

    @property
    def usable(self) -> bool:
        """A run may train on it."""
        return self in (Status.PENDING, Status.ACCEPTED)


@dataclass(frozen=True)
class Object:
    """One write of one S3 key; the version id is only how to fetch it.

    `write` tells writes of the same content under the same key apart: after A and B, A again is one of its own.
    `order` grows with each newer write of the key (0: an earlier release did not count). `over` is the place in the
    table of the write that it came after, `under` of a newer one that was there before it. `old`: in the old layout.
    """

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
    write: int = 1
    order: float = 0.0
    over: str = ""
    under: str = ""
    old: bool = False
    kind: ObjectKind = ObjectKind.DATA

    @property
    def place(self) -> str:
        """Where it is kept: `<epoch>/<identity>`; in the old layout without an epoch."""
        return self.identity if self.old else f"{self.epoch}/{self.identity}"

    @property
    def content(self) -> str:
        """What a verdict names: bucket + key + etag. A listing has no version ids, hence the etag."""
        return _digest(self.bucket, self.key, self.etag)

    @property
    def identity(self) -> str:
        """One write of that content. Never expires."""
        return self.content if self.write == 1 else _digest(self.bucket, self.key, self.etag, str(self.write))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Window:
    """The open window of a model, which is epoch `epoch`. `asked` requests that it closes now.

    `old_layout`: objects of an earlier release may be on record, which kept them all in one partition.
    """

    model: str
    epoch: int = 1
    version: int = 0
    opened_at: float = 0.0
    newest_at: float = 0.0
    count: int = 0
    asked: Trigger | None = None
    last_slot: str = ""
    old_layout: bool = True


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
    """Where an arriving object goes: the model whose window it joins, or the reason why it is quarantined.

    `kind` says what it holds, by its prefix.

    `ignored`: the file was never meant to be data, so no alarm fires.
    """

    model: str
    reason: str = ""
    marker: bool = False
    ignored: bool = False
    kind: ObjectKind = ObjectKind.DATA


def admit(obj: Object, bucket: str, policies: Mapping[str, Policy]) -> Admission:
    """Which model an object belongs to, and whether it may join the window."""
    if obj.bucket != bucket:
        return Admission("", f"bucket {obj.bucket} is not the data bucket {bucket}")
    found = ((policy, *pair) for policy in policies.values() for pair in policy.prefixes.items())
    policy, prefix, kind = next((one for one in found if obj.key.startswith(one[1])), (None, "", ObjectKind.DATA))
    if policy is None:
        return Admission("", f"no model has a prefix of {obj.key!r}")
    return replace(_admitted(obj, prefix, policy), kind=kind)


def _admitted(obj: Object, prefix: str, policy: Policy) -> Admission:
    if ".." in obj.key.split("/"):
        return Admission(policy.model, "the key has a '..' segment")
    hidden = side_file(obj.key, prefix, policy.intake.success_marker)
    if hidden:
        reason = f"{hidden!r} in the key: a side file of Spark, Hive, Databricks or the like, never data"
        return Admission(policy.model, reason, ignored=True)
    if obj.key.rsplit("/", 1)[-1] == policy.intake.success_marker:
        return Admission(policy.model, marker=True)
    if obj.key.endswith("/"):
        return Admission(policy.model, "a folder, not a file")
    if obj.size == 0:
        return Admission(policy.model, "the file is empty")
    if obj.size > policy.intake.max_object_bytes:
        return Admission(
            policy.model, f"{obj.size} bytes, more than max_object_bytes = {policy.intake.max_object_bytes}"
        )
    return Admission(policy.model)


def data_set(objects: Iterable[Object], epoch: int) -> tuple[Object, ...]:
    """What the run of `epoch` trains on: the newest write of each key among all usable objects so far."""
    newest: dict[tuple[str, str], Object] = {}
    for obj in objects:
        if obj.epoch > epoch or not obj.status.usable:
            continue
        known = newest.get((obj.bucket, obj.key))
        if known is None or later(obj, known):
            newest[(obj.bucket, obj.key)] = obj
    return tuple(sorted(newest.values(), key=lambda obj: (obj.bucket, obj.key)))


def judged(objects: Iterable[Object], verdicts: Mapping[str, Object], run_id: str, epoch: int) -> Iterator[Object]:
    """The objects that change by a stage's `verdicts` (by content), and the writes that an accepted one supersedes."""
    before = [obj for obj in objects if obj.epoch <= epoch and obj.status.usable]
    trained_on = {obj.identity for obj in data_set(before, epoch)}
    after = [_verdict(t, verdicts.get(t.content)) if t.identity in trained_on else t for t in before]
    chosen = {(obj.bucket, obj.key): obj for obj in data_set(after, epoch)}
    for old, new in zip(before, after, strict=True):
        newest = chosen.get((new.bucket, new.key), new)
        if new.status.usable and newest is not new and newest.status is Status.ACCEPTED:
            yield superseded(new, newest, run_id)
        elif new != old:
            yield new


def superseded(obj: Object, newer: Object, run_id: str) -> Object:
    """The object as superseded; the reason names the newer write."""
    reason = f"overwritten by the write with etag {newer.etag}, which {run_id} trained on"
    return replace(obj, status=Status.SUPERSEDED, reason=reason)


def _verdict(obj: Object, verdict: Object | None) -> Object:
    return replace(obj, status=verdict.status, reason=verdict.reason) if verdict else obj


def later(one: Object, other: Object) -> bool:
    """`one` is the later write of the same key. Sequencers are hex, compared after padding (S3 user guide)."""
    if one.order and other.order and one.order != other.order:
        return one.order > other.order
    if one.sequencer and other.sequencer:
        width = max(len(one.sequencer), len(other.sequencer))
        return one.sequencer.rjust(width, "0").lower() > other.sequencer.rjust(width, "0").lower()
    return one.arrived_at > other.arrived_at
