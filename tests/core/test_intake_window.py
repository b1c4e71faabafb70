"""When a window closes, what may enter it, and which objects a run learns from."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statemachine.contracts.side_files import side_file
from statemachine.core.policy import IntakePolicy, Policy
from statemachine.core.run import Trigger
from statemachine.core.window import (
    Object,
    Status,
    Window,
    admit,
    closing,
    data_set,
    judged,
    later,
)

POLICY = IntakePolicy(quiet_period=300, max_wait=1800, max_objects=5, max_object_bytes=100)
POLICIES = {
    "fraud": Policy("fraud", "data/fraud/", intake=POLICY),
    "risk": Policy("risk", "data/risk/", intake=POLICY),
}
WINDOW = Window("fraud", 3, opened_at=1000, newest_at=1100, count=2)


def obj(key: str = "data/fraud/a.csv", etag: str = "e1", **more: object) -> Object:
    return Object("data", key, etag, size=10, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("window", "now", "why"),
    [
        (WINDOW, 1399, None),
        (WINDOW, 1400, "then quiet for 300 s"),
        (replace(WINDOW, newest_at=2790), 2799, None),
        (replace(WINDOW, newest_at=2790), 2800, "in 1800 s, the longest a window waits"),
        (replace(WINDOW, count=4), 1100, None),
        (replace(WINDOW, count=5), 1100, "5 objects, the most a window holds"),
        (Window("fraud"), 1e9, None),
        (replace(WINDOW, asked=Trigger("nightly", "n", "the night")), 1100, "the night"),
        (Window("fraud", asked=Trigger("person", "ann", "now")), 0, "now"),
    ],
)
def test_a_window_closes_when_it_should(window: Window, now: float, why: str | None) -> None:
    """After quiet, at the longest wait, when full, or when asked; an empty one only when asked."""
    trigger = closing(window, POLICY, now)
    assert (trigger is None) if why is None else (trigger is not None and trigger.why.endswith(why))


@pytest.mark.parametrize(
    ("key", "bucket", "size", "model", "reason"),
    [
        ("data/fraud/a b+c.csv", "data", 10, "fraud", ""),
        ("data/fraud/über/€.csv", "data", 10, "fraud", ""),
        ("data/risk/x", "data", 10, "risk", ""),
        ("data/fraud/a..b.csv", "data", 10, "fraud", ""),
        ("data/fraud/%2e%2e/x", "data", 10, "fraud", ""),
        ("data/fraud/../risk/x", "data", 10, "fraud", "'..' segment"),
        ("data/fraud/dir/", "data", 10, "fraud", "a folder"),
        ("data/fraud/empty.csv", "data", 0, "fraud", "empty"),
        ("data/fraud/big.csv", "data", 101, "fraud", "max_object_bytes = 100"),
        ("data/other/x", "data", 10, "", "no model has a prefix"),
        ("data/fraud", "data", 10, "", "no model has a prefix"),
        ("data/fraud/a.csv", "elsewhere", 10, "", "not the data bucket"),
    ],
)
def test_each_key_is_taken_or_set_aside_with_a_reason(
    key: str, bucket: str, size: int, model: str, reason: str
) -> None:
    """Spaces, `+`, unicode, `..`, other prefixes and buckets, folders, empty and huge files."""
    admission = admit(Object(bucket, key, "e", size=size), "data", POLICIES)
    assert admission.model == model
    assert reason in admission.reason
    assert bool(admission.reason) is bool(reason)


@pytest.mark.parametrize("key", ["data/fraud/_SUCCESS", "data/fraud/2026/11/_SUCCESS"])
def test_a_marker_closes_and_teaches_nothing(key: str) -> None:
    """It may be empty."""
    assert admit(Object("data", key, "e"), "data", POLICIES).marker


SIDE_FILES = [
    ("_temporary/0/_temporary/attempt_202611/part-0000.csv", "_temporary"),
    ("_temporary/0/part-0000.csv", "_temporary"),
    ("dt=2026-11-27/_temporary/part-0000.csv", "_temporary"),
    ("_started_8541", "_started_8541"),
    ("_committed_8541", "_committed_8541"),
    ("_delta_log/00000000000000000000.json", "_delta_log"),
    ("_metadata", "_metadata"),
    (".hive-staging_hive_2026-11-27/x.csv", ".hive-staging_hive_2026-11-27"),
    (".part-0000.csv.crc", ".part-0000.csv.crc"),
    ("part-0000.csv.crc", "part-0000.csv.crc"),
    (".hidden", ".hidden"),
    ("part-0000.csv._COPYING_", "part-0000.csv._COPYING_"),
    ("2026_$folder$", "2026_$folder$"),
    ("_temporary/_SUCCESS", "_temporary"),
    ("dt=2026-11-27/part-0000.csv", ""),
    ("_dt=2026-11-27/part-0000.csv", ""),
    ("a_b.csv", ""),
    ("a.b_/c.csv", ""),
]


@pytest.mark.parametrize(("name", "hidden"), SIDE_FILES)
def test_side_files_are_ignored_by_rule(name: str, hidden: str) -> None:
    """Spark's own rule for what it does not read (HadoopFSUtils.shouldFilterOutPathName, Spark 3.5).

    "We filter follow paths: 1. everything that starts with _ and ., except _common_metadata and _metadata … 2.
    everything that ends with `._COPYING_`": `(pathName.startsWith("_") && !pathName.contains("=")) || …`. The summary
    files are kept there for Parquet's sake and hold no rows, so here they are ignored too.
    """
    admission = admit(Object("data", f"data/fraud/{name}", "e", size=10), "data", POLICIES)
    assert (admission.ignored, admission.marker) == (bool(hidden), False)
    assert repr(hidden) in admission.reason if hidden else admission.reason == ""


def test_only_what_lies_below_the_prefix_can_be_hidden() -> None:
    """The prefix itself is the user's choice, whether it ends in a slash or amid a name."""
    for prefix, key, hidden in [
        ("_raw/.in/", "_raw/.in/a.csv", ""),
        ("_raw/.in/", "_raw/.in/_tmp/a.csv", "_tmp"),
        ("data/_fraud", "data/_fraud_2026/a.csv", ""),
        ("data/_fraud", "data/_fraud_2026/_tmp", "_tmp"),
        ("", "_tmp/a.csv", "_tmp"),
    ]:
        assert side_file(key, prefix) == hidden


def test_an_object_is_its_bucket_key_and_etag() -> None:
    """Neither the event's id nor the version id: a listing has none. The parts cannot run into one another."""
    assert obj(version_id="1", sequencer="A").identity == obj().identity
    assert obj(etag="e2").identity != obj().identity
    assert Object("ab", "c", "d").identity != Object("a", "bc", "d").identity


@pytest.mark.parametrize(
    ("one", "other"),
    [("B", "A"), ("100", "FF"), ("0062e99a88dc407460", "62E99A88DC40745F"), ("1F", "1e")],
)
def test_the_greater_sequencer_is_the_later_write(one: str, other: str) -> None:
    """Hex of any length, compared after padding, whatever order the events come in."""
    a, b = obj(etag="a", sequencer=one, arrived_at=0), obj(etag="b", sequencer=other, arrived_at=9)
    assert later(a, b)
    assert not later(b, a)


@given(st.lists(st.tuples(st.integers(0, 2**72), st.floats(0, 1e9)), min_size=2, max_size=2))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_of_two_writes_at_most_one_is_later(pair: list[tuple[int, float]]) -> None:
    """A strict order, so the newest write does not depend on the order in which they are read."""
    a, b = (obj(sequencer=f"{n:x}", arrived_at=at) for n, at in pair)
    assert not (later(a, b) and later(b, a))
    assert not later(a, a)


def test_a_run_learns_from_all_so_far_the_newest_write_of_each_key() -> None:
    """Not from later epochs, nor from what was set aside."""
    old, new = obj(etag="old", epoch=1, sequencer="1"), obj(etag="new", epoch=3, sequencer="2")
    other = obj("data/fraud/b.csv", epoch=2, status=Status.ACCEPTED)
    not_yet = obj("data/fraud/c.csv", epoch=4)
    bad = obj("data/fraud/d.csv", epoch=2, status=Status.QUARANTINED)
    marker = obj("data/fraud/_SUCCESS", epoch=2, status=Status.MARKER)
    objects = [new, old, other, not_yet, bad, marker]
    assert data_set(objects, 3) == (new, other)
    assert data_set(reversed(objects), 3) == (new, other)
    assert data_set(objects, 2) == (old, other)


def verdict(about: Object, status: Status, reason: str = "") -> dict[str, Object]:
    return {about.identity: replace(about, status=status, reason=reason)}


def test_an_accepted_write_supersedes_the_earlier_ones() -> None:
    """It was overwritten, unread or not: it becomes SUPERSEDED with a reason."""
    old, new = (
        obj(etag="old", epoch=1, sequencer="1", status=Status.ACCEPTED),
        obj(etag="new", epoch=2, sequencer="2"),
    )
    changed = {t.etag: t for t in judged([old, new], verdict(new, Status.ACCEPTED), "fraud-2", 2)}
    assert changed["new"].status is Status.ACCEPTED
    assert (changed["old"].status, "etag new" in changed["old"].reason) == (Status.SUPERSEDED, True)


def test_a_bad_write_does_not_cost_the_good_one_before_it() -> None:
    """The newer one is quarantined, so the older one goes on teaching."""
    old, new = (
        obj(etag="old", epoch=1, sequencer="1", status=Status.ACCEPTED),
        obj(etag="new", epoch=2, sequencer="2"),
    )
    changed = list(judged([old, new], verdict(new, Status.QUARANTINED, "row 3"), "fraud-2", 2))
    assert changed == [replace(new, status=Status.QUARANTINED, reason="row 3")]
    assert data_set([old, *changed], 3) == (old,)


def test_a_verdict_touches_nothing_that_came_later_or_was_set_aside() -> None:
    """Judging again changes nothing more."""
    late = obj(epoch=5)
    aside = obj("data/fraud/b.csv", epoch=1, status=Status.QUARANTINED)
    both = {**verdict(late, Status.ACCEPTED), **verdict(aside, Status.ACCEPTED)}
    assert list(judged([late, aside], both, "fraud-2", 2)) == []
    new = obj(epoch=2)
    (once,) = judged([new], verdict(new, Status.ACCEPTED), "fraud-2", 2)
    assert list(judged([once], verdict(new, Status.ACCEPTED), "fraud-2", 2)) == []
