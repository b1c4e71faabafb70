"""One entity's answers are deleted from the log, and nothing else is."""

from pathlib import Path
from typing import Any

import polars as pl
from scored_records import scored

from training.scorelog.archive import Archiver
from training.scorelog.files import WINDOW, ScoreFiles
from training.scorelog.forget import Erased, erase
from training.scorelog.read import read
from training.scorelog.record import stream

BEGIN = 1_800_057_600_000 - WINDOW
MARK = "key:card=00112233445566aa;"


def test_its_answers_go_and_requests_that_tell_of_it_are_emptied(store: Any, tmp_path: Path) -> None:
    """In parts and merged days alike; files without it stay as they are, and a second time there is nothing to do."""
    for number in range(6):
        line = f"{MARK},1" if number % 3 == 0 else f"key:card=ff{number:014x};,2"
        told = "earlier: 17,2" if number in (1, 3) else "earlier: 5,5"
        fields = scored(number, transaction=line, request=told).fields()
        store.xadd(stream("fraud"), fields, id=f"{BEGIN + number // 2 * WINDOW}-{number}")
    work = Archiver(store, ScoreFiles(str(tmp_path), "fraud"))
    work.once(BEGIN + 3_600_000)
    work.merge_days(BEGIN + 3_600_000)
    untouched = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    assert erase(work.files, MARK, lambda text: "17,2" in text) == Erased(answers=2, requests=1, files=2)
    left = read(str(tmp_path), "fraud")
    assert left["request_id"].to_list() == ["r1", "r2", "r4", "r5"]
    assert left["request"].to_list() == ["", "earlier: 5,5", "earlier: 5,5", "earlier: 5,5"]
    assert left.filter(pl.col("transaction").str.contains("00112233445566aa")).is_empty()
    assert sum(path.stat().st_mtime_ns == at for path, at in untouched.items()) == 1
    assert erase(work.files, MARK, lambda text: "17,2" in text) == Erased()


def test_what_was_erased_does_not_come_back(store: Any, tmp_path: Path) -> None:
    """A window whose part lost all its rows is still archived, so an archiver that repeats it writes nothing."""
    fields = scored(1, transaction=MARK).fields()
    store.xadd(stream("fraud"), fields, id=f"{BEGIN}-1")
    work = Archiver(store, ScoreFiles(str(tmp_path), "fraud"))
    work.once(BEGIN + 3_600_000)
    assert erase(work.files, MARK, lambda text: False).answers == 1
    store.xadd(stream("fraud"), fields, id=f"{BEGIN}-2")  # the same window once more, as after a crash
    work.once(BEGIN + 3_600_000)
    assert read(str(tmp_path), "fraud").is_empty()
