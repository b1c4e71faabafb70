"""Intake: no object is lost, none is in two epochs, and a repeated event joins once."""

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulation.memory.crash_injection import Crash, Crashing, CrashPoint
from simulation.memory.metered_table import MeteredTable
from simulation.memory.stages import honest, refused
from simulation.memory.world import BUCKET, World
from statemachine.contracts.errors import Conflict, OperationRefused, Unknown, Unreachable
from statemachine.contracts.object_kind import ObjectKind
from statemachine.contracts.report import Report
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from statemachine.core import codec
from statemachine.core.run import Trigger
from statemachine.core.states import State
from statemachine.core.window import Object, Status
from statemachine.intake import BATCH, NOWHERE, IngestResult, Intake
from statemachine.ports import Clause, Key, Put

NIGHT = "2026-11-24T02:00:00Z"


def on_record(world: World) -> dict[str, tuple[int, str]]:
    return {t.key.removeprefix("data/fraud/"): (t.epoch, t.status.value) for t in world.intake.objects("fraud")}


def manifest_of(world: World, run_id: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(world.files.bodies[world.store.run(run_id).manifest])
    return body


def trained_on(world: World) -> list[tuple[str, str]]:
    """What the model's index holds: key and etag."""
    index = world.store.model("fraud").index
    assert index is not None
    return sorted((t["key"].removeprefix("data/fraud/"), t["etag"]) for t in json.loads(world.files.bodies[index.uri]))


def nightly(world: World, slot: str = NIGHT) -> None:
    world.nightly_schedule(slot)


# -- arrivals -----------------------------------------------------------------------------------------------------


def test_objects_join_the_open_window() -> None:
    """The first opens it, each keeps it open."""
    world = World()
    world.land("a.csv")
    world.now += 100
    world.land("b.csv", "c.csv")
    window = world.intake.window("fraud")
    assert (window.count, window.newest_at - window.opened_at) == (3, 100)
    assert on_record(world) == {"a.csv": (1, "PENDING"), "b.csv": (1, "PENDING"), "c.csv": (1, "PENDING")}


def test_the_same_event_twice_is_one_object() -> None:
    """Also within a batch, also under another version id, also after its run."""
    world = World()
    (obj,) = world.land("a.csv")
    taken = world.intake.arrive([obj, replace(obj, version_id="2"), obj])
    assert (taken.joined, taken.known) == (0, 3)
    assert world.intake.window("fraud").count == 1
    world.until_rest("fraud-1")
    assert world.intake.arrive([obj]).joined == 0
    assert world.intake.window("fraud").count == 0


def test_a_burst_of_ten_thousand_objects_is_one_run() -> None:
    """Batches of at most 49, items far from 400 KB, every object in the manifest once."""
    world = World()
    objects = [world.object(f"data/fraud/{n:05d}.csv") for n in range(10_000)]
    for at in range(0, len(objects), 400):
        assert world.intake.arrive(objects[at : at + 400]).joined == 400
    run = world.until_rest("fraud-1")
    assert run.state is State.SUCCEEDED
    assert len(on_record(world)) == 10_000
    assert {status for _, status in on_record(world).values()} == {"ACCEPTED"}
    manifest = world.files.bodies[world.store.run("fraud-1").manifest]
    assert manifest.count(b'"new": true') == 10_000
    assert max(len(str(item)) for item in world.table.items.values()) < 20_000


def test_a_listing_of_many_known_objects_costs_a_query_not_a_read_each() -> None:
    """Each nightly listing covers all objects."""
    world = World()
    objects = [world.object(f"data/fraud/{n:05d}.csv") for n in range(1000)]
    world.intake.arrive(objects)
    world.files.listed += objects
    before = world.table.reads
    assert world.intake.arrive(world.files.list(BUCKET, "data/fraud/"), world.now).joined == 0
    assert world.table.reads - before < 10


class Contended:
    """A table on which somebody else grows the window before each of the first `times` writes."""

    def __init__(self, world: World, times: int) -> None:
        self.world, self.times = world, times

    def __getattr__(self, name: str) -> object:
        return getattr(self.world.table, name)

    def write(self, *puts: Put) -> None:
        if self.times:
            self.times -= 1
            World.land(self.world_beside(), f"beside-{self.times}.csv")
        self.world.table.write(*puts)

    def world_beside(self) -> World:
        other = World(self.world.policies, self.world.now, 10_000 + self.times)
        other.table = self.world.table
        other.wire(other.table, other.pipelines, other.files, other.hints)
        return other


def test_conflicting_arrivals_are_tried_again() -> None:
    """Two batches at once: both are in, and the count is right."""
    world = World()
    world.wire(Contended(world, 3), world.pipelines, world.files, world.hints)
    world.land("a.csv")
    assert world.intake.window("fraud").count == 4
    assert len(on_record(world)) == 4


def test_endless_conflicts_end_in_an_error_not_in_a_loss() -> None:
    """SQS delivers the message again."""
    world = World()
    world.wire(Contended(world, 1000), world.pipelines, world.files, world.hints)
    with pytest.raises(Conflict, match="window"):
        world.land("a.csv")


def test_a_lost_answer_is_neither_a_loss_nor_a_second_object() -> None:
    """The write was made; the message comes again and finds it."""
    world = World()
    world.table.lose_answers = 1
    with pytest.raises(Unreachable):
        world.land("a.csv")
    world.intake.arrive(world.files.listed)
    assert world.intake.window("fraud").count == 1


@pytest.mark.parametrize(
    ("key", "more", "model"),
    [
        ("data/fraud/../x.csv", {}, "fraud"),
        ("data/fraud/dir/", {}, "fraud"),
        ("data/fraud/empty.csv", {"size": 0}, "fraud"),
        ("data/fraud/huge.csv", {"size": 6 * 1024**3}, "fraud"),
        ("data/elsewhere/x.csv", {}, NOWHERE),
        ("data/fraud/other-bucket.csv", {"bucket": "other"}, NOWHERE),
    ],
)
def test_what_cannot_be_learned_from_is_set_aside_with_the_reason(
    key: str, more: dict[str, object], model: str
) -> None:
    """On record, in no window; the good neighbour is taken."""
    world = World()
    odd = replace(world.object(key), **more)  # type: ignore[arg-type]
    taken = world.intake.arrive([odd, world.object("data/fraud/good.csv")])
    assert (taken.joined, taken.quarantined) == (1, 1)
    (aside,) = [obj for obj in world.intake.objects(model) if obj.key == key]
    assert (aside.status, bool(aside.reason)) == (Status.QUARANTINED, True)
    assert world.intake.arrive([odd]).quarantined == 0


@pytest.mark.parametrize("key", ["a b+c.csv", "über/€.csv", "a..b.csv", "x" * 900])
def test_odd_keys_are_learned_from(key: str) -> None:
    """Spaces, `+`, unicode, dots: the manifest names them as they are."""
    world = World()
    world.land(key)
    assert world.until_rest("fraud-1").state is State.SUCCEEDED
    assert key in world.files.bodies[world.store.run("fraud-1").manifest].decode()


# -- closing ------------------------------------------------------------------------------------------------------


def test_arrivals_during_a_run_wait_in_the_open_window() -> None:
    """Never in a run that has begun; they are the next one, as soon as the slot is free."""
    world = World()
    world.land("a.csv")
    for _ in range(6):
        world.minute()
    world.land("b.csv")
    for _ in range(3):
        world.minute()
        assert world.store.load("fraud-2") is None
    world.until_rest("fraud-2")
    assert on_record(world) == {"a.csv": (1, "ACCEPTED"), "b.csv": (2, "ACCEPTED")}
    second = manifest_of(world, "fraud-2")
    assert [(t["key"], t["new"]) for t in second["objects"]] == [("data/fraud/b.csv", True)]
    assert json.loads(world.files.bodies[second["index"]])[0]["key"] == "data/fraud/a.csv"
    assert trained_on(world) == [("a.csv", "etag-data/fraud/a.csv"), ("b.csv", "etag-data/fraud/b.csv")]


def test_two_closers_cannot_both_win() -> None:
    """One run; the other finds a new, empty window."""
    world = World()
    world.land("a.csv")
    world.now += 300
    window, model = world.intake.window("fraud"), world.store.model("fraud")
    trigger = Trigger("arrival")
    assert world.intake._close(window, model, trigger, world.now)
    assert world.intake._close(window, model, trigger, world.now) is None
    assert world.intake.close_due("fraud") is None


def test_an_arrival_between_reading_and_closing_keeps_the_window_open() -> None:
    """Closing conditions on the header, so the late object is in the run or in the next window, never in between."""
    world = World()
    world.land("a.csv")
    window, model = world.intake.window("fraud"), world.store.model("fraud")
    world.land("b.csv")
    assert world.intake._close(window, model, Trigger("arrival"), world.now) is None
    assert {epoch for epoch, _ in on_record(world).values()} == {1}


@pytest.mark.parametrize("landed", [20_000])
def test_a_full_window_closes_at_once(landed: int) -> None:
    """`max_objects`; here with the limit at hand."""
    world = World()
    policy = world.policies["fraud"]
    world.policies["fraud"] = replace(policy, intake=replace(policy.intake, max_objects=3))
    world.land("a.csv", "b.csv")
    assert world.intake.close_due("fraud") is None
    world.land("c.csv")
    run = world.intake.close_due("fraud")
    assert run is not None
    assert "the most a window holds" in run.trigger.why
    assert landed == policy.intake.max_objects


def test_a_success_marker_closes_the_window_once_a_write() -> None:
    """Its event comes twice, and each nightly run lists it: still one run. Written anew, it closes the next window."""
    world = World()
    world.land("a.csv")
    (marker,) = world.land("_SUCCESS", size=0)
    run = world.intake.close_due("fraud")
    assert run is not None
    assert run.trigger.why == "data/fraud/_SUCCESS arrived"
    world.intake.arrive([marker])
    world.until_rest("fraud-1")
    world.intake.arrive([replace(marker, sequencer="", etag=marker.etag)])  # as a listing shows it
    for _ in range(3):
        world.minute()
    assert world.store.load("fraud-2") is None
    world.land("b.csv")
    world.land("_SUCCESS", size=0)
    assert world.intake.close_due("fraud") is not None


def test_a_marker_that_overtakes_its_files_begins_no_empty_run() -> None:
    """The window is empty when it comes; the files then close it by being quiet."""
    world = World()
    world.land("a.csv")
    world.until_rest("fraud-1")
    world.land("_SUCCESS", size=0)
    world.tick()
    assert world.store.load("fraud-2") is None
    world.land("b.csv")
    assert world.until_rest("fraud-2").state is State.SUCCEEDED


def test_nothing_closes_while_the_model_is_on_hold() -> None:
    """The window simply stays open, and closes when the model is released."""
    world = World()
    world.operations.hold("fraud", "ann", "a freeze")
    world.land("a.csv")
    for _ in range(20):
        world.minute()
    assert world.store.load("fraud-1") is None
    world.operations.release("fraud", "bob", "thawed")
    assert world.until_rest("fraud-1").state is State.SUCCEEDED
    assert [(t.what, t.who, t.why) for t in world.store.model_acts("fraud")] == [
        ("hold", "ann", "a freeze"),
        ("release", "bob", "thawed"),
    ]


# -- nights -------------------------------------------------------------------------------------------------------


def test_the_same_night_twice_is_one_run() -> None:
    """And takes in what the events missed."""
    world = World()
    world.files.listed.append(world.object("data/fraud/a.csv"))
    nightly(world)
    nightly(world)
    assert world.until_rest("fraud-1").trigger.kind == "nightly"
    nightly(world)
    for _ in range(3):
        world.minute()
    assert world.store.load("fraud-2") is None


def test_a_night_with_nothing_new_is_skipped_and_says_so() -> None:
    """Once; the reason and the slot are on record."""
    world = World()
    world.land("a.csv")
    world.until_rest("fraud-1")
    nightly(world)
    nightly(world)
    world.tick()
    assert world.store.load("fraud-2") is None
    (skipped,) = world.intake.skipped("fraud")
    assert (skipped["slot"], skipped["why"]) == (NIGHT, "nothing new in data, code and parameters")


def test_new_labels_alone_are_a_reason_to_train() -> None:
    """A night that brought reports only begins a run; its manifest says what they are. The next night is skipped."""
    world = World()
    world.land("a.csv")
    world.until_rest("fraud-1")
    nightly(world)
    assert len(list(world.intake.skipped("fraud"))) == 1
    world.files.listed.append(world.object("labels/fraud/monday.csv"))  # its event was lost: the listing finds it
    nightly(world, "2026-11-25T02:00:00Z")
    run = world.until_rest("fraud-2")
    (entry,) = manifest_of(world, "fraud-2")["objects"]
    assert (run.trigger.kind, entry["key"], entry["kind"], entry["new"]) == (
        "nightly", "labels/fraud/monday.csv", "labels", True,
    )  # fmt: skip
    nightly(world, "2026-11-26T02:00:00Z")
    assert world.store.load("fraud-3") is None


def test_labels_are_objects_of_a_kind_of_their_own() -> None:
    """They join the window, close it with their own marker, are quarantined and released as transactions are."""
    world = World()
    (label, hidden, marker) = (
        world.object(f"labels/fraud/{name}", size=size)
        for name, size in (("a.csv", 9), ("_temporary/b.csv", 9), ("_SUCCESS", 0))
    )
    assert world.intake.arrive([label, hidden]) == IngestResult(joined=1, ignored=1)
    assert [(t.kind, t.status) for t in world.intake.of_epoch("fraud", 1)] == [(ObjectKind.LABELS, Status.PENDING)]
    world.operations.quarantine("fraud", "labels/fraud/a.csv", "ann", "wrong bank")
    assert [t.kind for t in world.intake.quarantined("fraud")] == [ObjectKind.LABELS]
    world.operations.release_object("fraud", "labels/fraud/a.csv", "ann", "no")
    assert [(t.kind, t.status) for t in world.intake.of_epoch("fraud", 1)] == [(ObjectKind.LABELS, Status.PENDING)]
    world.intake.arrive([marker])
    run = world.until_rest("fraud-1")
    assert run.trigger.why == "labels/fraud/_SUCCESS arrived"


def test_an_object_of_an_earlier_release_is_data() -> None:
    """Its record says no kind."""
    body = json.loads(codec.dumps(Object("data", "data/fraud/a.csv", "e")))
    del body["kind"]
    assert codec.loads(Object, json.dumps(body)).kind is ObjectKind.DATA


def test_a_night_trains_again_when_code_or_parameters_changed() -> None:
    """Or when the model is configured to train nightly."""
    for change in ("code", "parameters", "policy"):
        world = World()
        world.land("a.csv")
        world.until_rest("fraud-1")
        if change == "code":
            world.intake = replace(world.intake, code="newer")
        elif change == "parameters":
            world.operations.adopt("fraud", {"train": {"hidden_dim": 64}}, {"experiment": "katib-1"})
        else:
            world.policies["fraud"] = replace(world.policies["fraud"], skip_unchanged_night=False)
        nightly(world)
        assert world.store.load("fraud-2") is not None, change


def test_a_night_tries_again_what_a_failed_run_did_not_learn() -> None:
    """Nothing new came, but no model was trained either."""
    world = World()
    world.stages.every(Stage.TRAIN, lambda order: b"{")
    world.land("a.csv")
    assert world.until_rest("fraud-1").state is State.FAILED
    world.stages.always.clear()
    nightly(world)
    assert world.until_rest("fraud-2").state is State.SUCCEEDED


def test_a_night_before_any_data_begins_nothing() -> None:
    """There is nothing to train on, and the reason says so."""
    world = World()
    nightly(world)
    assert world.store.load("fraud-1") is None
    assert len(list(world.intake.skipped("fraud"))) == 1


def test_an_older_night_that_comes_late_counts_no_more() -> None:
    """`last_slot` only grows."""
    world = World()
    assert world.intake.ask("fraud", Trigger("nightly"), slot="2026-11-25")
    assert not world.intake.ask("fraud", Trigger("nightly"), slot="2026-11-24")


# -- verdicts -----------------------------------------------------------------------------------------------------


def test_a_bad_file_does_not_cost_its_good_neighbour() -> None:
    """QUARANTINED with row, column and reason; the good one is trained on."""
    world = World()

    def judge(order: StageRequest) -> Report:
        verdicts = [
            {"bucket": BUCKET, "key": "data/fraud/good.csv", "etag": "etag-data/fraud/good.csv", "status": "ACCEPTED"},
            {
                "bucket": BUCKET,
                "key": "data/fraud/bad.csv",
                "etag": "etag-data/fraud/bad.csv",
                "status": "QUARANTINED",
                "problems": [{"row": 7, "column": "Amount", "found": "x", "expected": "$0.00"}],
            },
        ]
        world.files.bodies[f"{order.output_uri}/objects"] = json.dumps(verdicts).encode()
        return honest(order)

    world.stages.every(Stage.PREPROCESS, judge)
    world.land("good.csv", "bad.csv")
    assert world.until_rest("fraud-1").state is State.SUCCEEDED
    assert on_record(world) == {"good.csv": (1, "ACCEPTED"), "bad.csv": (1, "QUARANTINED")}
    (bad,) = [t for t in world.intake.objects("fraud") if t.status is Status.QUARANTINED]
    assert bad.reason == "row 7, column Amount: found 'x', expected $0.00"


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        (
            {"row": 0, "column": "", "found": "gzip inside of gzip", "expected": "a file that was packed once"},
            "the file: found gzip inside of gzip, expected a file that was packed once",
        ),
        (
            {"row": 0, "column": "MCC", "found": "no such column", "expected": "the column in the header"},
            "the file, column MCC: found no such column, expected the column in the header",
        ),
        ({"row": 3, "column": "", "found": "12 cells", "expected": "13"}, "row 3: found '12 cells', expected 13"),
    ],
)
def test_a_problem_of_a_whole_file_names_no_row(problem: dict[str, object], told: str) -> None:
    """A person reads "the file", not row 0 and a column without a name."""
    world = World()

    def judge(order: StageRequest) -> Report:
        bad = {"bucket": BUCKET, "key": "data/fraud/bad.csv", "etag": "etag-data/fraud/bad.csv"}
        good = {"bucket": BUCKET, "key": "data/fraud/good.csv", "etag": "etag-data/fraud/good.csv"}
        verdicts = [good | {"status": "ACCEPTED"}, bad | {"status": "QUARANTINED", "problems": [problem]}]
        world.files.bodies[f"{order.output_uri}/objects"] = json.dumps(verdicts).encode()
        return honest(order)

    world.stages.every(Stage.PREPROCESS, judge)
    world.land("good.csv", "bad.csv")
    assert world.until_rest("fraud-1").state is State.SUCCEEDED
    (bad,) = [t for t in world.intake.objects("fraud") if t.status is Status.QUARANTINED]
    assert bad.reason == told


def test_a_file_that_was_overwritten_is_superseded_and_says_by_what() -> None:
    """The run learns from the newest write only, whatever order the events came in."""
    world = World()
    old = world.object("data/fraud/a.csv", etag="old", sequencer="0A")
    new = world.object("data/fraud/a.csv", etag="new", sequencer="0B")
    world.intake.arrive([new])
    world.intake.arrive([old])
    world.until_rest("fraud-1")
    found = {t.etag: t for t in world.intake.objects("fraud")}
    assert found["new"].status is Status.ACCEPTED
    assert found["old"].status is Status.SUPERSEDED
    assert "overwritten by the write with etag new" in found["old"].reason
    manifest = world.files.bodies[world.store.run("fraud-1").manifest]
    assert b'"old"' not in manifest


@pytest.mark.parametrize("listed", [False, True])
def test_content_that_returns_under_its_key_is_learned_from(listed: bool) -> None:
    """A, B, A over three runs, delivered by events or by a nightly listing: the third run brings A in as new."""
    world = World()

    def write(etag: str, sequencer: str, run_id: str) -> dict[str, tuple[int, str]]:
        world.now += 10_000
        obj = world.object("data/fraud/a.csv", etag=etag, sequencer="" if listed else sequencer)
        assert world.intake.arrive([obj]).joined == 1
        assert world.intake.arrive([obj]).joined == 0
        world.until_rest(run_id)
        return {t.etag: (t.epoch, t.status.value) for t in world.intake.objects("fraud")}

    assert write("A", "01", "fraud-1") == {"A": (1, "ACCEPTED")}
    assert write("B", "02", "fraud-2") == {"A": (1, "SUPERSEDED"), "B": (2, "ACCEPTED")}
    assert write("A", "03", "fraud-3") == {"A": (3, "ACCEPTED"), "B": (2, "SUPERSEDED")}
    (entry,) = json.loads(world.files.bodies[world.store.run("fraud-3").manifest])["objects"]
    assert (entry["etag"], entry["new"], entry["epoch"]) == ("A", True, 3)


def test_content_that_returns_in_a_long_listing_is_learned_from() -> None:
    """More objects than a transaction takes: what was overwritten is still looked at."""
    world = World()
    world.intake.arrive([world.object("data/fraud/a.csv", etag="A", sequencer="01")])
    world.until_rest("fraud-1")
    world.intake.arrive([world.object("data/fraud/a.csv", etag="B", sequencer="02")])
    world.until_rest("fraud-2")
    world.now += 10_000
    many = [world.object(f"data/fraud/{number}.csv", sequencer="") for number in range(BATCH + 5)]
    back = world.object("data/fraud/a.csv", etag="A", sequencer="")
    assert world.intake.arrive([*many, back]).joined == BATCH + 6


def test_side_files_are_on_record_as_ignored_and_alarm_nobody() -> None:
    """Spark's `_temporary/` and its like join no window, close none, and are not quarantined."""
    world = World()
    names = ("_temporary/0/part-0.csv", "_started_1", "_committed_1", ".part-0.csv.crc", "_temporary/_SUCCESS")
    taken = world.intake.arrive([world.object(f"data/fraud/{name}") for name in names])
    assert (taken.joined, taken.quarantined, taken.ignored) == (0, 0, 5)
    assert {status for _, status in on_record(world).values()} == {"IGNORED"}
    assert all("a side file of Spark" in obj.reason for obj in world.intake.objects("fraud"))
    window = world.intake.window("fraud")
    assert (window.count, window.asked) == (0, None)


def test_a_quarantined_object_that_is_released_is_in_the_next_run() -> None:
    """It joins the open window, so it needs no other arrival; releasing what is not quarantined is refused."""
    world = World()
    world.stages.script(Stage.PREPROCESS, lambda o: refused(o, "bad", {"objects": f"{o.output_uri}/objects"}))
    world.land("a.csv")
    assert world.until_rest("fraud-1").state is State.REJECTED
    world.operations.release_object("fraud", "data/fraud/a.csv", "ann", "the schema was wrong")
    with pytest.raises(OperationRefused, match="PENDING, not quarantined"):
        world.operations.release_object("fraud", "data/fraud/a.csv", "ann", "again")
    assert world.until_rest("fraud-2").state is State.SUCCEEDED
    assert on_record(world) == {"a.csv": (2, "ACCEPTED")}


def test_a_person_quarantines_an_object() -> None:
    """No later run trains on it; who and why are on record."""
    world = World()
    world.land("a.csv", "b.csv")
    world.until_rest("fraud-1")
    world.operations.quarantine("fraud", "data/fraud/a.csv", "ann", "test cards")
    world.land("c.csv")
    world.until_rest("fraud-2")
    assert [t["key"] for t in manifest_of(world, "fraud-2")["removed"]] == ["data/fraud/a.csv"]
    assert [key for key, _ in trained_on(world)] == ["b.csv", "c.csv"]
    assert [t.reason for t in world.intake.objects("fraud") if t.key.endswith("a.csv")] == ["by ann: test cards"]
    with pytest.raises(Unknown, match="no object"):
        world.operations.quarantine("fraud", "data/fraud/x.csv", "ann", "why")


def test_verdicts_that_cannot_be_read_fail_the_run_and_nobody_waits() -> None:
    """Poison: `objects.json` is not JSON."""
    for poison in (b"{", b"[1]", b'[{"bucket": "data"}]', b"[" * 100_000):
        world = World()

        def judge(order: StageRequest, body: bytes = poison, world: World = world) -> Report:
            world.files.bodies[f"{order.output_uri}/objects"] = body
            return honest(order)

        world.stages.every(Stage.PREPROCESS, judge)
        world.land("a.csv")
        run = world.until_rest("fraud-1")
        assert (run.state, "verdicts" in run.reason) == (State.FAILED, True)


# -- slots --------------------------------------------------------------------------------------------------------


def test_a_slot_whose_holder_is_gone_is_freed_by_the_tick() -> None:
    """The holder is missing or terminal."""
    world = World()
    world.store.change_model("fraud", lambda model: replace(model, training="fraud-99"))
    assert world.intake.free_slots("fraud") == "fraud-99"
    assert world.store.model("fraud").training == ""
    assert world.intake.free_slots("fraud") == ""


def test_a_slot_that_is_used_is_not_freed() -> None:
    """The tick comes every minute."""
    world = World()
    world.land("a.csv")
    for _ in range(6):
        world.minute()
    assert world.store.model("fraud").training == "fraud-1"


def test_two_models_train_side_by_side() -> None:
    """Each has its own window, slots and champion."""
    fraud = World().policies["fraud"]
    world = World({"fraud": fraud, "risk": replace(fraud, model="risk", prefix="data/risk/")})
    world.land("a.csv")
    world.land("b.csv", model="risk")
    for _ in range(6):
        world.minute()
    active = {world.store.model(name).training for name in ("fraud", "risk")}
    assert active == {"fraud-1", "risk-1"}
    assert world.until_rest("risk-1").state is State.SUCCEEDED
    assert world.until_rest("fraud-1").state is State.SUCCEEDED


def test_a_batch_fits_a_transaction() -> None:
    """DynamoDB takes 100 items; the header is one of them."""
    assert BATCH < 100
    assert isinstance(World().intake, Intake)
    assert Object("b", "k", "e").status is Status.PENDING


# -- the index, and what it costs -----------------------------------------------------------------------------------


def test_content_that_returns_is_a_new_write() -> None:
    """A, B, A under one key: trained on as what it is now, once; the first A's event again changes nothing."""
    world = World()
    writes = [world.object("data/fraud/a.csv", etag=etag, sequencer=f"0{n}") for n, etag in enumerate("ABA", 1)]
    for number, write in enumerate(writes, 1):
        assert world.intake.arrive([write]).joined == 1
        world.until_rest(f"fraud-{number}")
        assert trained_on(world) == [("a.csv", write.etag)]
    assert world.intake.arrive(writes).joined == 0
    assert [(t.epoch, t.etag, t.status.value) for t in world.intake.objects("fraud")] == [
        (1, "A", "SUPERSEDED"),
        (2, "B", "SUPERSEDED"),
        (3, "A", "ACCEPTED"),
    ]


def test_content_that_returns_is_seen_by_the_night_too() -> None:
    """Its event was lost; a listing has neither version ids nor sequencers, but says what the key holds now."""
    world = World()
    for etag in "AB":
        world.land("a.csv", etag=etag)
        world.now += 120
    world.files.listed.append(world.object("data/fraud/a.csv", etag="A"))
    world.now += 120
    nightly(world)
    world.until_rest("fraud-1")
    assert trained_on(world) == [("a.csv", "A")]
    assert [t["etag"] for t in manifest_of(world, "fraud-1")["objects"]] == ["A"]


def test_a_write_that_came_while_the_page_was_listed_is_not_overruled() -> None:
    """The page says A, which B has overwritten since: B's event is newer than the listing."""
    world = World()
    (first,) = world.land("a.csv", etag="A")
    page, listed_at = [replace(first, sequencer="")], world.now + 500
    world.now += 501
    world.land("a.csv", etag="B")
    assert world.intake.arrive(page, listed_at).joined == 0
    world.until_rest("fraud-1")
    assert trained_on(world) == [("a.csv", "B")]


def test_a_late_older_write_never_takes_the_place_of_a_newer_one() -> None:
    """Its event comes after the newer write was trained on: it is superseded, whatever epoch it joined."""
    world = World()
    old, new = (world.object("data/fraud/a.csv", etag=etag, sequencer=n) for etag, n in (("old", "0A"), ("new", "0B")))
    world.intake.arrive([new])
    world.until_rest("fraud-1")
    world.intake.arrive([old, world.object("data/fraud/b.csv")])
    world.until_rest("fraud-2")
    assert [t["key"] for t in manifest_of(world, "fraud-2")["objects"]] == ["data/fraud/b.csv"]
    assert trained_on(world) == [("a.csv", "new"), ("b.csv", "etag-data/fraud/b.csv")]
    assert {t.etag: t.status for t in world.intake.objects("fraud")}["old"] is Status.SUPERSEDED


def test_a_late_older_write_is_learned_from_if_the_newer_one_is_bad() -> None:
    """A bad write does not cost the good one before it, in whatever order their events came."""
    world = World()
    old, new = (world.object("data/fraud/a.csv", etag=etag, sequencer=n) for etag, n in (("old", "0A"), ("new", "0B")))
    world.stages.script(Stage.PREPROCESS, lambda o: refused(o, "bad", {"objects": f"{o.output_uri}/objects"}))
    world.intake.arrive([new])
    world.until_rest("fraud-1")
    world.intake.arrive([old])
    assert world.until_rest("fraud-2").state is State.SUCCEEDED
    assert trained_on(world) == [("a.csv", "old")]


def test_no_object_is_in_two_manifests() -> None:
    """Ten runs, each over what is new; the index has them all once."""
    world = World()
    observed: list[str] = []
    for number in range(1, 11):
        world.land(f"{number}a.csv", f"{number}b.csv")
        assert world.until_rest(f"fraud-{number}").state is State.SUCCEEDED
        observed += [t["key"] for t in manifest_of(world, f"fraud-{number}")["objects"]]
    assert len(observed) == len(set(observed)) == 20
    assert sorted(observed) == [f"data/fraud/{key}" for key, _ in trained_on(world)]


def test_a_run_that_is_rejected_later_still_leaves_its_objects_in_the_index() -> None:
    """Accepted objects teach later runs, whatever became of the run that checked them."""
    world = World()
    world.stages.script(Stage.TRAIN, lambda order: b"{")
    world.land("a.csv")
    assert world.until_rest("fraud-1").state is State.FAILED
    world.land("b.csv")
    assert world.until_rest("fraud-2").state is State.SUCCEEDED
    assert [key for key, _ in trained_on(world)] == ["a.csv", "b.csv"]
    assert len(manifest_of(world, "fraud-2")["objects"]) == 1


def test_an_earlier_stage_without_an_index_is_read_as_before() -> None:
    """Its image is older than the functions: the manifest names all objects until a stage leaves an index."""
    world = World()

    def former(order: StageRequest) -> Report:
        report = honest(order)
        return replace(report, outputs={n: a for n, a in report.outputs.items() if n != "index"})

    world.stages.every(Stage.PREPROCESS, former)
    for number, name in enumerate("abc", 1):
        world.land(f"{name}.csv")
        assert world.until_rest(f"fraud-{number}").state is State.SUCCEEDED
    manifest = manifest_of(world, "fraud-3")
    assert (manifest["index"], [t["new"] for t in manifest["objects"]]) == (None, [False, False, True])


def test_a_removal_reaches_the_index_even_if_the_next_run_checks_nothing() -> None:
    """It waits in its epoch until an index was written that knows of it."""
    world = World()
    world.land("a.csv", "b.csv")
    world.until_rest("fraud-1")
    world.operations.quarantine("fraud", "data/fraud/a.csv", "ann", "test cards")
    world.stages.script(Stage.PREPROCESS, lambda order: b"{")
    world.land("c.csv")
    assert world.until_rest("fraud-2").state is State.FAILED
    world.land("d.csv")
    assert world.until_rest("fraud-3").state is State.SUCCEEDED
    assert [t["key"] for t in manifest_of(world, "fraud-3")["removed"]] == ["data/fraud/a.csv"]
    assert [key for key, _ in trained_on(world)] == ["b.csv", "c.csv", "d.csv"]
    world.land("e.csv")
    world.until_rest("fraud-4")
    assert manifest_of(world, "fraud-4")["removed"] == []


def test_an_object_that_is_set_aside_and_released_in_turns_ends_as_what_was_said_last() -> None:
    """In one epoch and over several; the short list says so each time."""
    world = World()
    world.land("a.csv", "b.csv")
    world.until_rest("fraud-1")
    key = "data/fraud/a.csv"
    for _ in range(2):
        world.operations.quarantine("fraud", key, "ann", "odd")
        assert [t.key for t in world.intake.quarantined("fraud")] == [key]
        world.operations.release_object("fraud", key, "ann", "it is right")
        assert world.intake.quarantined("fraud") == []
    world.until_rest("fraud-2")
    assert [k for k, _ in trained_on(world)] == ["a.csv", "b.csv"]
    world.operations.quarantine("fraud", key, "bob", "odd after all")
    nightly(world)
    world.until_rest("fraud-3")
    assert [k for k, _ in trained_on(world)] == ["b.csv"]


def test_an_object_that_is_set_aside_while_its_run_checks_it_leaves_with_the_next_one() -> None:
    """The run had it in its manifest; the removal is noted in the open epoch."""
    world = World()
    world.land("a.csv", "b.csv")
    for _ in range(6):
        world.minute()
    world.operations.quarantine("fraud", "data/fraud/a.csv", "ann", "odd")
    world.until_rest("fraud-1")
    assert [k for k, _ in trained_on(world)] == ["a.csv", "b.csv"]
    world.land("c.csv")
    world.until_rest("fraud-2")
    assert [k for k, _ in trained_on(world)] == ["b.csv", "c.csv"]


def test_an_object_of_the_index_that_cannot_be_read_again_is_quarantined_by_its_verdict() -> None:
    """Gone from the bucket and from the cache: named by its key, found by the head of that key."""
    world = World()
    (gone,) = world.land("a.csv")
    world.until_rest("fraud-1")

    def judge(order: StageRequest) -> Report:
        good = {"bucket": BUCKET, "key": "data/fraud/b.csv", "etag": "etag-data/fraud/b.csv", "status": "ACCEPTED"}
        bad = {"bucket": BUCKET, "key": gone.key, "etag": gone.etag, "status": "QUARANTINED", "problems": []}
        world.files.bodies[f"{order.output_uri}/objects"] = json.dumps([good, bad]).encode()
        return honest(order)

    world.stages.script(Stage.PREPROCESS, judge)
    world.land("b.csv")
    world.until_rest("fraud-2")
    assert on_record(world) == {"a.csv": (1, "QUARANTINED"), "b.csv": (2, "ACCEPTED")}
    assert [k for k, _ in trained_on(world)] == ["b.csv"]


def test_a_mark_that_dies_halfway_is_gone_on_with() -> None:
    """Batches that were written are found done; the index counts only once all of them are."""
    world = World()
    objects = [world.object(f"data/fraud/{n:04d}.csv") for n in range(300)]
    world.intake.arrive(objects)
    table, calls = world.table, []

    class Dying:
        def __getattr__(self, name: str) -> object:
            return getattr(table, name)

        def write(self, *puts: Put) -> None:
            marking = any(put.item.get("status") == "ACCEPTED" for put in puts)
            calls.append(len(puts)) if marking else None
            if marking and len(calls) == 3:
                raise Unreachable("killed")
            table.write(*puts)

    world.wire(Dying(), world.pipelines, world.files, world.hints)
    for _ in range(20):
        world.minute() if len(calls) < 3 else None
    assert world.store.model("fraud").index is None
    assert sorted({status for _, status in on_record(world).values()}) == ["ACCEPTED", "PENDING"]
    world.until_rest("fraud-1")
    assert {status for _, status in on_record(world).values()} == {"ACCEPTED"}
    assert len(trained_on(world)) == 300
    assert sum(calls) - calls[2] == 300


def test_objects_of_the_old_layout_are_read_until_the_index_covers_them() -> None:
    """An earlier release kept all objects in one partition: known again, in the first manifest, then in the index."""
    world = World()
    old = [world.object(f"data/fraud/{name}.csv", epoch=epoch, status=status, version=1) for name, epoch, status in OLD]
    for obj in old:
        body = {k: v for k, v in vars(obj).items() if k not in ("write", "order", "over", "under", "old")}
        item = {"type": "object", "format": 2, "version": 1, "writer": "w", "body": codec.dumps(body)}
        world.table.write(Put(Key("OBJECTS#fraud", obj.identity), item, Clause("new")))
    window = {"model": "fraud", "epoch": 3, "version": 7, "opened_at": world.now, "newest_at": world.now, "count": 1}
    item = {"type": "window", "format": 2, "version": 7, "writer": "w", "body": codec.dumps(window)}
    world.table.write(Put(Key("MODEL#fraud", "WINDOW"), item, Clause("new")))
    assert world.intake.arrive(old).joined == 0
    assert [t.key for t in world.intake.quarantined("fraud")] == ["data/fraud/bad.csv"]
    world.land("new.csv")
    assert world.until_rest("fraud-3").state is State.SUCCEEDED
    first = manifest_of(world, "fraud-3")
    assert [(t["key"].removeprefix("data/fraud/"), t["new"]) for t in first["objects"]] == [
        ("early.csv", False),
        ("new.csv", True),
        ("waiting.csv", True),
    ]
    world.operations.release_object("fraud", "data/fraud/bad.csv", "ann", "it is right")
    world.operations.quarantine("fraud", "data/fraud/early.csv", "ann", "odd")
    assert world.until_rest("fraud-4").state is State.SUCCEEDED
    second = manifest_of(world, "fraud-4")
    assert [t["key"] for t in second["objects"]] == ["data/fraud/bad.csv"]
    assert [t["key"] for t in second["removed"]] == ["data/fraud/early.csv"]
    assert [k for k, _ in trained_on(world)] == ["bad.csv", "new.csv", "waiting.csv"]


OLD = (
    ("early", 1, Status.ACCEPTED),
    ("bad", 2, Status.QUARANTINED),
    ("waiting", 3, Status.PENDING),
)


def reads_of_a_run(learned_before: int) -> tuple[int, float, int]:
    """Reads, read units and writes of one run with 100 new objects, after a run with so many."""
    world = World()
    world.table = MeteredTable()
    world.wire(world.table, world.pipelines, world.files, world.hints)
    objects = [world.object(f"data/fraud/{n:06d}.csv") for n in range(learned_before)]
    world.intake.arrive(objects)
    world.until_rest("fraud-1")
    before = world.table.reads, world.table.read_units, world.table.writes
    world.intake.arrive([world.object(f"data/fraud/new-{n:03d}.csv") for n in range(100)])
    assert world.until_rest("fraud-2").state is State.SUCCEEDED
    now = world.table.reads, world.table.read_units, world.table.writes
    return tuple(b - a for a, b in zip(before, now, strict=True))  # type: ignore[return-value]


def test_a_run_costs_what_is_new_not_what_there_ever_was() -> None:
    """The same calls and units after 100 objects as after 2,000."""
    assert reads_of_a_run(100) == reads_of_a_run(2_000)


# -- the nightly listing --------------------------------------------------------------------------------------------


def test_a_night_goes_on_where_it_stopped() -> None:
    """Page by page, each on record before the place moves; its slot is claimed once all are."""
    world = World()
    world.files.listed += [world.object(f"data/fraud/{n:05d}.csv") for n in range(2_500)]
    turns = iter([False, True, False, True, False, False])
    for done in (False, False, True):
        place, taken = world.listing.go_on("fraud", NIGHT, lambda: next(turns))
        assert (place.done, taken.joined) == (done, 500 if done else 1000)
        assert len(on_record(world)) == sum(1 for t in world.files.listed if t.key <= place.after)
    assert world.listing.go_on("fraud", NIGHT)[1].joined == 0


def test_a_night_that_dies_anywhere_misses_no_key() -> None:
    """Before and after each write: what is not on record when the next invocation goes on, it lists again."""
    for at in range(1, 60, 3):
        world = World()
        world.files.listed += [world.object(f"data/fraud/{n:05d}.csv") for n in range(1_050)]
        fate = CrashPoint(at, after=at % 2 == 0)
        world.wire(Crashing(world.table, fate), world.pipelines, Crashing(world.files, fate), world.hints)
        with suppress(Crash):
            world.listing.go_on("fraud", NIGHT)
        undisturbed, fate.at = not fate.dead, 0
        place, _ = world.listing.go_on("fraud", NIGHT)
        assert place.done
        assert len(on_record(world)) == 1_050 == world.intake.window("fraud").count
        if undisturbed:
            return
    raise AssertionError("it makes more calls than were tried")


def test_two_invocations_of_the_same_night_share_the_listing() -> None:
    """The later place counts; every key is taken in once."""
    world = World()
    world.files.listed += [world.object(f"data/fraud/{n:05d}.csv") for n in range(3_000)]
    turns = iter([False, True])
    world.listing.go_on("fraud", NIGHT, lambda: next(turns))
    late = world.listing._place("fraud")
    world.listing.go_on("fraud", NIGHT)
    assert world.listing._moved("fraud", replace(late, after="data/fraud/01999.csv")).done
    assert len(on_record(world)) == 3_000


def test_each_night_lists_all_of_it() -> None:
    """A key that sorts before the position where the last listing stopped is found by the next one."""
    world = World()
    world.files.listed += [world.object(f"data/fraud/m{n:05d}.csv") for n in range(1_500)]
    world.listing.go_on("fraud", NIGHT)
    world.files.listed.append(world.object("data/fraud/a.csv"))
    _, taken = world.listing.go_on("fraud", "2026-11-25T02:00:00Z")
    assert taken.joined == 1


def test_a_lost_index_is_built_again_from_the_table() -> None:
    """A person asks for it; the next manifest names all that was accepted and not set aside since."""
    world = World()
    for number, name in enumerate("abc", 1):
        world.land(f"{name}.csv")
        world.until_rest(f"fraud-{number}")
    world.operations.quarantine("fraud", "data/fraud/b.csv", "ann", "odd")
    world.operations.reindex("fraud", "ann", "somebody deleted it")
    assert world.operations.start("fraud", "ann", "now") == "fraud-4"
    assert world.until_rest("fraud-4").state is State.SUCCEEDED
    manifest = manifest_of(world, "fraud-4")
    assert (manifest["index"], [t["key"] for t in manifest["objects"]]) == (
        None,
        ["data/fraud/a.csv", "data/fraud/c.csv"],
    )
    assert [key for key, _ in trained_on(world)] == ["a.csv", "c.csv"]


@given(st.data(), st.booleans())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_index_ends_as_what_the_bucket_holds(data: st.DataObject, nights: bool) -> None:
    """A key is overwritten with new and former content; its events come in any order, twice or late; nights list."""
    world, events = World(), []
    for _ in range(data.draw(st.integers(2, 8))):
        world.now += data.draw(st.sampled_from([1, 70, 900]))
        events.append(world.object("data/fraud/a.csv", etag=data.draw(st.sampled_from("AB"))))
        world.files.listed.append(events[-1])
        if data.draw(st.booleans()):
            world.intake.arrive([data.draw(st.sampled_from(events))])
        if nights and data.draw(st.booleans()):
            nightly(world, f"night {world.now}")
        for _ in range(data.draw(st.sampled_from([0, 0, 15]))):
            world.minute()
    for event in data.draw(st.permutations(events)):
        world.intake.arrive([event])
    for number in range(3 if nights else 1):  # a night sees to what the one before could not tell apart
        world.now += 3600
        if number:
            nightly(world, f"last night {number}")
        for _ in range(30):
            world.minute()
    held = [(t.key.removeprefix("data/fraud/"), t.etag) for t in world.files.list(BUCKET, "data/fraud/")]
    assert trained_on(world) == held
    places = [obj.place for obj in world.intake.objects("fraud")]
    assert len(places) == len(set(places))
