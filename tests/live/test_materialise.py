"""The store is brought up to a data set: it then holds what a stream of the same payments would have left."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from live_cases import KEY, Replayed, Server, ask, pod, settings

from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from training.data.preprocess import PreprocessConfig
from training.data.schema import loads as schema_of
from training.live import materialise as stage
from training.live.contents import DatasetContents
from training.live.definition import DAY, LiveDefinition
from training.live.forget import forget, key_of
from training.live.keys import EntityHash, Names
from training.live.record import EntityState, loads
from training.live.settings import LiveSettings
from training.outcome import Permanent, Transient

ROOT = Path(__file__).parents[2]


def states(server: Server, definition: LiveDefinition) -> dict[bytes, EntityState]:
    """All records of a definition."""
    client, names = server.client(), Names.of("fraud", definition.digest, KEY)
    return {key: loads(client.get(key), definition) for key in client.keys(names.entities)}


def midnight(replayed: Replayed, before: int = 0) -> int:
    """The end of the data set's last day, or of one before it."""
    return (int(replayed.times()[-1]) // DAY + 1 - before) * DAY


def same(one: EntityState, other: EntityState) -> bool:
    parts = ("days", "reports", "entries")
    return all(_untagged(getattr(one, part)) == _untagged(getattr(other, part)) for part in parts)


def _untagged(rows: np.ndarray) -> bytes:
    if "tag" in (rows.dtype.names or ()):
        rows = rows.copy()
        rows["tag"] = b"\0" * 8
        rows["state"] = rows["state"].round(4)
    return rows.tobytes()


def test_the_store_is_what_a_stream_leaves(replayed: Replayed, server: Server, tmp_path: Path) -> None:
    """Filled from the data set, or from half of it with the rest as payments: the same entries, days and labels."""
    given, rows = settings(server), replayed.last(1_000)
    replayed.night(tmp_path, given, midnight(replayed), whole=True)
    filled = states(server, replayed.definition)
    server.client().flushall()
    with pod(replayed.model, given) as (live, _):
        replayed.replay(tmp_path, given, rows, lambda row, line: float(ask(live, line)["PROBABILITY"][0, 0]))
    streamed = states(server, replayed.definition)
    assert filled.keys() == streamed.keys()
    assert len(filled) > 100
    assert [key for key, one in filled.items() if not same(one, streamed[key])] == []


def test_after_the_store_was_lost_it_is_filled_again(replayed: Replayed, server: Server, tmp_path: Path) -> None:
    """What a flush took comes back from the data set; what came as payments since then is kept."""
    given, rows = settings(server), replayed.last(300)
    last_day = midnight(replayed, 1)
    replayed.night(tmp_path, given, last_day, whole=True)
    with pod(replayed.model, given) as (live, _):
        server.client().flushall()
        for row, line in zip(rows, replayed.lines(rows), strict=True):
            if replayed.times()[row] >= last_day:
                ask(live, line, f"row-{row}")
        replayed.night(tmp_path, given, last_day, whole=True)
    again = states(server, replayed.definition)
    server.client().flushall()
    replayed.night(tmp_path, given, midnight(replayed), whole=True)
    whole = states(server, replayed.definition)
    known = replayed.table.filter(replayed.table["known_at"] // DAY == last_day // DAY)
    assert len(known) >= 0
    different = [
        key for key, one in whole.items() if not np.array_equal(one.entries["time"], again[key].entries["time"])
    ]
    assert different == []
    assert [key for key, one in whole.items() if not np.array_equal(one.days, again[key].days)] == []


def killed(replayed: Replayed, folder: Path, given: LiveSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is killed in the middle of the second relation."""
    told, chunks = 0, DatasetContents.chunks

    def half(self, *arguments):
        nonlocal told
        for chunk in chunks(self, *arguments):
            told += len(chunk)
            if told > 120:
                raise KeyboardInterrupt
            yield chunk

    monkeypatch.setattr(stage, "CHUNK", 10)
    with monkeypatch.context() as patched:
        patched.setattr(DatasetContents, "chunks", half)
        with pytest.raises(KeyboardInterrupt):
            stage.fill("fraud", folder, replayed.model.config.k, given)


def test_other_labels_are_not_a_killed_stages_rest(
    replayed: Replayed, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rows with newer labels, as of a night that brought only reports: every entity is written."""
    given = settings(server)
    folder = replayed.as_of(tmp_path, midnight(replayed))
    killed(replayed, folder, given, monkeypatch)
    file = folder / "transactions.parquet"
    rows = pl.read_parquet(file)
    rows.with_columns(label=pl.lit(1, pl.Int8), known_at=pl.col("time")).write_parquet(file)
    (brought,) = stage.fill("fraud", folder, replayed.model.config.k, given)
    assert brought.entities == len(states(server, replayed.definition))


def test_a_killed_stage_goes_on_where_it_was(
    replayed: Replayed, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second attempt writes what the first one did not, and nothing twice."""
    given = settings(server)
    folder = replayed.as_of(tmp_path, midnight(replayed))
    killed(replayed, folder, given, monkeypatch)
    assert server.client().get(Names.of("fraud", replayed.definition.digest, KEY).filled) is None
    (rest,) = stage.fill("fraud", folder, replayed.model.config.k, given)
    assert 0 < rest.entities < len(states(server, replayed.definition))
    interrupted = states(server, replayed.definition)
    server.client().flushall()
    stage.fill("fraud", folder, replayed.model.config.k, given)
    whole = states(server, replayed.definition)
    assert whole.keys() == interrupted.keys()
    assert [key for key, one in whole.items() if not same(one, interrupted[key])] == []


def test_an_older_data_set_changes_nothing(replayed: Replayed, server: Server, tmp_path: Path) -> None:
    """Whichever run comes late: the newer data set stays, unless a person says `replace`; the same one again is the
    same.
    """
    given, definition = settings(server), replayed.definition
    replayed.night(tmp_path, given, midnight(replayed, 3), whole=True)
    older = states(server, definition)
    server.client().flushall()
    replayed.night(tmp_path, given, midnight(replayed), whole=True)
    before = {key: one.dumps() for key, one in states(server, definition).items()}
    (late,) = replayed.night(tmp_path, given, midnight(replayed, 3))
    assert late.fenced
    assert {key: one.dumps() for key, one in states(server, definition).items()} == before
    (again,) = replayed.night(tmp_path, given, midnight(replayed))
    assert not again.fenced
    folder = replayed.as_of(tmp_path, midnight(replayed, 3))
    (replaced,) = stage.fill("fraud", folder, replayed.model.config.k, given, replace=True)
    assert not replaced.fenced
    now = states(server, definition)
    assert [key for key, one in older.items() if not same(one, now[key])] == []
    assert not any(len(now[key].entries) or len(now[key].days) for key in now.keys() - older.keys())


def meanwhile(monkeypatch: pytest.MonkeyPatch, fill: Callable[[], object]) -> None:
    """While the next fill reads its data set, another one runs from beginning to end."""
    contents = DatasetContents.of

    def slow(*arguments):
        monkeypatch.setattr(DatasetContents, "of", contents)
        fill()
        return contents(*arguments)

    monkeypatch.setattr(DatasetContents, "of", slow)


def killed_at(
    step: str, folder: Path, replayed: Replayed, given: LiveSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fill that is killed when it comes to a step."""

    def dead(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(stage, step, dead)
        with pytest.raises(KeyboardInterrupt):
            stage.fill("fraud", folder, replayed.model.config.k, given)


def left(server: Server, replayed: Replayed, wanted: dict[bytes, EntityState]) -> list[bytes]:
    """Records that are not `wanted`, or should not be."""
    found = states(server, replayed.definition)
    wrong = [key for key, one in wanted.items() if key not in found or not same(one, found[key])]
    return wrong + [key for key in found.keys() - wanted.keys() if len(found[key].entries) or len(found[key].days)]


def alone(server: Server, replayed: Replayed, folder: Path, given: LiveSettings) -> dict[bytes, EntityState]:
    """What a fill leaves in an empty store, which is empty again then."""
    stage.fill("fraud", folder, replayed.model.config.k, given)
    wanted = states(server, replayed.definition)
    server.client().flushall()
    return wanted


def without(folder: Path, replayed: Replayed, day: int) -> Path:
    """The data set to `day` without the rows of each fifth merchant, but with the last row."""
    made = replayed.as_of(folder, day)
    rows = pl.read_parquet(made / "transactions.parquet")
    gone = rows["merchant_key"].unique().sort().gather_every(5)
    last = rows.tail(1)
    kept = pl.concat([rows.head(-1).filter(~pl.col("merchant_key").is_in(gone.to_list())), last])
    kept.write_parquet(made / "transactions.parquet")
    return made


@pytest.mark.parametrize("newer_ends", ["before the older one begins to write", "never"])
def test_of_two_fills_the_one_that_began_last_writes(
    replayed: Replayed, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, newer_ends: str
) -> None:
    """A newer one comes while an older one reads its data set, or writes. The store is the newer one's in the end."""
    given, k = settings(server), replayed.model.config.k
    old, new = (replayed.as_of(tmp_path / str(days), midnight(replayed, days)) for days in (3, 0))
    wanted, chunks = alone(server, replayed, new, given), DatasetContents.chunks

    def newer() -> None:
        stage.fill("fraud", new, k, given, whole=True)

    def interrupted(self, side, until, size, first=0):
        monkeypatch.setattr(DatasetContents, "chunks", chunks)
        written = chunks(self, side, until, 10, first)
        yield next(written)
        newer()
        yield from written

    if newer_ends == "never":
        monkeypatch.setattr(DatasetContents, "chunks", interrupted)
    else:
        meanwhile(monkeypatch, newer)
    with pytest.raises(Transient, match="another fill") if newer_ends == "never" else nullcontext():
        (late,) = stage.fill("fraud", old, k, given, whole=True)
        assert late.fenced
    found = states(server, replayed.definition)
    assert found.keys() == wanted.keys()
    assert [key for key, one in found.items() if not same(one, wanted[key])] == []


def test_a_fill_that_looked_before_another_one_ended_looks_again(
    replayed: Replayed, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would take the store for an empty one, and the last day for complete."""
    given, k = settings(server), replayed.model.config.k
    folder = replayed.as_of(tmp_path, midnight(replayed))
    meanwhile(monkeypatch, lambda: stage.fill("fraud", folder, k, given))
    with pytest.raises(Transient, match="another fill"):
        stage.fill("fraud", folder, k, given)


def test_a_file_that_was_set_aside_while_its_fill_died(
    replayed: Replayed, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fill of the newest data set is killed when all is written but its end. The next data set ends earlier."""
    given = settings(server)
    old, new = (replayed.as_of(tmp_path / str(days), midnight(replayed, days)) for days in (3, 0))
    wanted = alone(server, replayed, old, given)
    stage.fill("fraud", old, replayed.model.config.k, given)
    killed_at("_withdraw", new, replayed, given, monkeypatch)
    (brought,) = stage.fill("fraud", old, replayed.model.config.k, given)
    assert not brought.fenced
    assert left(server, replayed, wanted) == []


def test_a_fill_does_not_go_on_where_another_one_was(
    replayed: Replayed, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is killed half way. The next is killed before it writes, and tried again."""
    given, day = settings(server), midnight(replayed)
    first, second = without(tmp_path / "1", replayed, day), replayed.as_of(tmp_path / "2", day)
    wanted = alone(server, replayed, second, given)
    killed(replayed, first, given, monkeypatch)
    killed_at("_write", second, replayed, given, monkeypatch)
    stage.fill("fraud", second, replayed.model.config.k, given)
    assert left(server, replayed, wanted) == []


def test_a_fill_that_wrote_nothing_takes_no_payment(
    replayed: Replayed, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next data set ends earlier; what was paid on its last day, of which it does not know, stays."""
    given, day = settings(server), midnight(replayed, 2)
    replayed.night(tmp_path / "0", given, midnight(replayed, 4), whole=True)
    rows = [row for row in replayed.last(500) if day - DAY <= replayed.times()[row] < day]
    with pod(replayed.model, given) as (live, _):
        ask(live, replayed.lines(rows[:1])[0], "paid")
    killed_at("_write", replayed.as_of(tmp_path / "1", midnight(replayed)), replayed, given, monkeypatch)
    replayed.night(tmp_path / "2", given, day)
    tags = [one.entries["tag"].tolist() for one in states(server, replayed.definition).values()]
    assert sum(tag != b"\0" * 8 for some in tags for tag in some) == len(replayed.definition.data.relations)


def test_a_second_fill_on_the_same_day_has_other_contents(replayed: Replayed, server: Server, tmp_path: Path) -> None:
    """A file of the first one was set aside. What it brought of the last day, too, is gone."""
    given, k, day = settings(server), replayed.model.config.k, midnight(replayed)
    first, second = replayed.as_of(tmp_path / "1", day), without(tmp_path / "2", replayed, day)
    wanted = alone(server, replayed, second, given)
    stage.fill("fraud", first, k, given)
    (brought,) = stage.fill("fraud", second, k, given)
    assert not brought.fenced
    assert left(server, replayed, wanted) == []
    earlier = replayed.as_of(tmp_path / "3", day)
    rows = pl.read_parquet(earlier / "transactions.parquet")
    rows.head(-5).write_parquet(earlier / "transactions.parquet")
    assert rows["time"][-6] // DAY == rows["time"][-1] // DAY, "it ends earlier on the same day"
    stage.fill("fraud", first, k, given)
    stage.fill("fraud", earlier, k, given, replace=True)
    server_now = {key: one for key, one in states(server, replayed.definition).items() if len(one.entries)}
    server.client().flushall()
    assert [key for key, one in alone(server, replayed, earlier, given).items() if not same(one, server_now[key])] == []


def test_a_store_that_was_restarted_ends_the_fill(
    replayed: Replayed, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have lost what was written last. The next attempt goes on from what is on record."""
    given, chunks = settings(server), DatasetContents.chunks
    folder = replayed.as_of(tmp_path, midnight(replayed))
    wanted = alone(server, replayed, folder, given)

    def restarted(self, *arguments):
        for number, chunk in enumerate(chunks(self, *arguments)):
            if number == 1:
                server.client().script_flush()
            yield chunk

    with monkeypatch.context() as patched:
        patched.setattr(DatasetContents, "chunks", restarted)
        with pytest.raises(Transient, match="was restarted"):
            stage.fill("fraud", folder, replayed.model.config.k, given)
    assert server.client().get(Names.of("fraud", replayed.definition.digest, KEY).filled) is None
    stage.fill("fraud", folder, replayed.model.config.k, given)
    assert left(server, replayed, wanted) == []


def test_another_secret_has_records_of_its_own(replayed: Replayed, server: Server, tmp_path: Path) -> None:
    """A stage with a wrong FRAUDLOOP_ENTITY_KEY harms nothing; a server with one says that its store is not filled."""
    given, other = settings(server), settings(server, entity_key="another key of the tests")
    replayed.night(tmp_path, given, midnight(replayed), whole=True)
    before = {key: one.dumps() for key, one in states(server, replayed.definition).items()}
    (line,) = replayed.lines(replayed.last(1)[-1:])
    with pod(replayed.model, other) as (live, counted):
        ask(live, line, stored=True)
        assert counted.degraded == ["not filled"]
    replayed.night(tmp_path, other, midnight(replayed), whole=True)
    assert {key: one.dumps() for key, one in states(server, replayed.definition).items()} == before


def test_entities_of_a_file_that_was_set_aside_have_no_history(
    replayed: Replayed, server: Server, tmp_path: Path
) -> None:
    """Only that file named them. The next night leaves what they paid since, and nothing else."""
    given, last = settings(server), midnight(replayed, 1)
    replayed.night(tmp_path / "first", given, last, whole=True)
    merchants = replayed.table.filter(pl.col("time") < last)["merchant_key"]
    gone = set(merchants.unique().sort().to_list()[::5])
    paid = [row for row in replayed.last(1) if replayed.table["merchant_key"][row] in gone]
    assert paid
    with pod(replayed.model, given) as (live, _):
        for row, line in zip(paid, replayed.lines(paid), strict=True):
            ask(live, line, f"row-{row}")
    folder = replayed.as_of(tmp_path / "second", midnight(replayed))
    rows = pl.read_parquet(folder / "transactions.parquet")
    rows.filter(~pl.col("merchant_key").is_in(gone)).write_parquet(folder / "transactions.parquet")
    stage.fill("fraud", folder, replayed.model.config.k, given)
    names, client = Names.of("fraud", replayed.definition.digest, KEY), server.client()
    keys = [names.entity("merchant", EntityHash(KEY).of("merchant", key)) for key in sorted(gone)]
    left = [loads(client.get(key), replayed.definition) for key in keys]
    times = sorted(time for one in left for time in one.entries["time"].tolist())
    assert times == sorted(replayed.times()[paid].tolist())
    assert sum(int(one.days["count"].sum()) for one in left) == len(paid)
    assert not any(len(one.reports) for one in left)
    assert all(0 < client.ttl(key) <= 400 * DAY for key in keys)


def test_a_damaged_record_is_mended_by_the_night(replayed: Replayed, server: Server, tmp_path: Path) -> None:
    """One that no script can read holds up no other; the data set's part takes its place."""
    given = settings(server)
    replayed.night(tmp_path, given, midnight(replayed), whole=True)
    before = states(server, replayed.definition)
    names, client = Names.of("fraud", replayed.definition.digest, KEY), server.client()
    damaged = [b"", b"\x07", b"\x02" + b"x" * 40, next(iter(before.values())).dumps()[:-1]]
    for key, value in zip(before, damaged, strict=False):
        client.set(key, value)
    client.set(names.entity("card", b"\xff" * 8), b"of no entity")
    client.delete(names.filled)
    replayed.night(tmp_path, given, midnight(replayed), whole=True)
    client.delete(names.entity("card", b"\xff" * 8))
    assert [key for key, one in states(server, replayed.definition).items() if not same(one, before[key])] == []


def test_other_definitions_in_use_are_refreshed(replayed: Replayed, server: Server, tmp_path: Path) -> None:
    """A training with another k gets state of its own, and the champion's goes on being refreshed."""
    given, k = settings(server), replayed.model.config.k
    folder = replayed.as_of(tmp_path, midnight(replayed))
    stage.fill("fraud", folder, k, given)
    new, former = stage.fill("fraud", folder, k + 3, given)
    assert former.definition == replayed.definition.digest != new.definition
    assert former.entities == new.entities > 100


def test_without_a_k_it_is_the_data_sets(replayed: Replayed, server: Server) -> None:
    """Preprocess computed the states for one; a training with the same has its state."""
    data = replayed.definition.data
    (brought,) = stage.fill("fraud", replayed.dataset, 0, settings(server))
    assert brought.definition == LiveDefinition(data, PreprocessConfig().k).digest


def test_the_stage_reports_what_it_brought_in(
    replayed: Replayed, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the settings of its pod; without them, or without a store, the reason says what to do."""
    monkeypatch.setenv("FRAUDLOOP_LIVE_URL", f"valkey://127.0.0.1:{server.port}/0")
    monkeypatch.setenv("FRAUDLOOP_ENTITY_KEY", KEY)
    inputs = {"dataset": str(replayed.as_of(tmp_path, midnight(replayed)))}
    order = StageRequest("fraud-1", "fraud", Stage.MATERIALISE, 1, "0" * 12, "/nowhere", inputs, {"k": 8})
    result = stage.materialise(order)
    (told,) = result.details["materialised"]
    assert told["definition"] == replayed.definition.digest
    assert result.metrics["entities"] == told["entities"] == len(states(server, replayed.definition))
    server.stop()
    with pytest.raises(Transient, match="does not answer"):
        stage.materialise(order)
    monkeypatch.delenv("FRAUDLOOP_ENTITY_KEY")
    with pytest.raises(Permanent, match="set FRAUDLOOP_LIVE_URL and FRAUDLOOP_ENTITY_KEY"):
        stage.materialise(order)


def test_the_store_s_own_users_may_do_their_work(replayed: Replayed, server: Server, tmp_path: Path) -> None:
    """By the rules that deploy/live/store gives: a fill over records that are there, a payment, an entity forgotten."""
    for line in (ROOT / "deploy/live/store/users.acl.example").read_text().splitlines():
        if line.startswith("user ") and not line.startswith("user default"):
            name, *rule = line.split()[1:]
            told = [">password" if word.startswith("#") else word for word in rule]
            server.client().execute_command("ACL", "SETUSER", name, "reset", *told)
    filler, scorer = (
        settings(server, url=f"valkey://{name}@127.0.0.1:{server.port}/0", password="password")
        for name in ("materialise", "scoring")
    )
    replayed.night(tmp_path, settings(server), midnight(replayed, 3), whole=True)
    folder = replayed.as_of(tmp_path, midnight(replayed))
    rows = pl.read_parquet(folder / "transactions.parquet")
    rows.filter(pl.col("merchant_key") != rows["merchant_key"][0]).write_parquet(folder / "transactions.parquet")
    (brought,) = stage.fill("fraud", folder, replayed.model.config.k, filler)
    assert brought.entities > 100
    row = replayed.last(1)[-1]
    with pod(replayed.model, scorer) as (live, counted):
        ask(live, replayed.lines([row])[0], "an id")
        ask(live, replayed.lines([row])[0], "an id")
    assert counted.degraded == ["", ""]
    data, key = replayed.definition.data, int(replayed.table["card_key"][row])
    assert forget("fraud", data, "card", key, filler).records == 1


def test_one_entity_can_be_forgotten(replayed: Replayed, server: Server, tmp_path: Path) -> None:
    """Its record, its entries at the merchants and its waiting answers are gone; those of others are not."""
    given, rows = settings(server), replayed.last(200)
    replayed.night(tmp_path, given, midnight(replayed, 3), whole=True)
    with pod(replayed.model, given) as (live, _):
        for row, line in zip(rows, replayed.lines(rows), strict=True):
            ask(live, line, f"row-{row}")
    user, card = replayed.lines(rows[-1:])[0].split(b",")[:2]
    data = schema_of((replayed.dataset / "schema.json").read_bytes()).data
    key = key_of(data, "card", [user.decode(), card.decode()])
    hashed = EntityHash(KEY).of("card", key)
    before = states(server, replayed.definition)
    found = forget("fraud", data, "card", key, given)
    after = states(server, replayed.definition)
    mark = int.from_bytes(hashed, "big")
    assert (found.records, found.unread) == (1, 0)
    assert found.logged >= 1
    lost = sum(int((one.entries["key card"] == mark).sum()) for name, one in before.items() if b":merchant:" in name)
    assert found.entries == lost > 0
    assert not any((one.entries["key card"] == mark).any() for one in after.values())
    assert len(before) - len(after) == 1
    others = sum(len(one.entries[one.entries["key card"] != mark]) for one in before.values())
    assert sum(len(one.entries) for one in after.values()) == others
    assert forget("fraud", data, "card", key, given).records == 0
    server.client().set(next(iter(after)), b"\x07")
    assert forget("fraud", data, "card", key, given).unread == 1, "a damaged record keeps no other from being looked at"


def test_a_merchant_whose_name_holds_a_comma_can_be_forgotten() -> None:
    """`--entity` is split at commas before it is known how many columns the entity has."""
    from training.data.parser import digits
    from training.data.presets import preset

    data, name = preset("sparkov"), "fraud_Example, Smith and Sons"
    assert key_of(data, "merchant", name.split(",")) == digits([name], data.salt)


def test_what_cannot_be_forgotten_is_said() -> None:
    """A relation or a value that there is not."""
    from training.data.presets import preset

    for side, values, why in (
        ("shop", ["1"], "card, merchant"),
        ("card", ["1"], "2 values"),
        ("card", ["1", "77"], "0 … 9"),
        ("card", ["--5", "2"], "'--5', expected a whole number"),
        ("card", ["²", "2"], "'²', expected a whole number"),
        ("merchant", ["1", "2"], "'1,2', expected a whole number"),
    ):
        with pytest.raises(Permanent, match=why):
            key_of(preset(), side, values)
    with pytest.raises(Permanent, match="no store"):
        forget("fraud", preset(), "card", 1, LiveSettings())
