"""What was scored live is the model's data, as if the payment system had landed it: the loop needs no other source."""

import csv
import json
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import boto3
import polars as pl
import pytest
from live_cases import Replayed, Server, ask, pod, settings

from training.data.checks import Limits
from training.data.declared import declared
from training.data.preprocess import PreprocessConfig, prepare
from training.live.settings import read
from training.scorelog.archive import Archiver
from training.scorelog.files import ScoreFiles, day_of
from training.scorelog.landing import Landing
from training.serving.live_line import file_line

DATA = declared({"label": {"empty": True}})
CONFIG = PreprocessConfig(data=DATA)
BUCKET, PREFIX = "fraudloop-data", "data/fraud/"
TODAY = date(2026, 11, 28)


def written(file: Path, lines: Sequence[bytes]) -> Path:
    """A file as the payment system would land it. What is old enough has its label."""
    with file.open("w", newline="") as out:
        csv.writer(out).writerow(DATA.known)
        out.writelines(f"{line.decode()}\n" for line in lines)
    return file


def made_of(folder: Path, *files: Path) -> pl.DataFrame:
    """The data set's rows, in an order that does not depend on the files."""
    prepare(files, folder, CONFIG, today=TODAY)
    rows = pl.read_parquet(folder / "transactions.parquet")
    return rows.sort("time", *DATA.keys, "clean_cents", "label", maintain_order=True)


def test_landed_payments_make_the_same_data_set(
    replayed: Replayed, server: Server, tmp_path: Path, system: Any
) -> None:
    """Histories from files, then payments from the log alone, some asked as JSON and some twice."""
    rows = replayed.last(400)
    payments = [f"{line.decode()},".encode() for line in replayed.lines(rows)]
    labels = replayed.table["label"].replace_strict({1: "Yes", 0: "No"}, default="").to_list()
    past = range(rows[0])
    history = [
        f"{line.decode()},{labels[row]}".encode() for row, line in zip(past, replayed.lines(list(past)), strict=True)
    ]
    names = DATA.unlabelled
    with pod(replayed.model, settings(server, log_lines=True)) as (live, _):
        for number, line in enumerate(payments):
            told = line
            if number % 3 == 0:
                cells = next(csv.reader([line.decode()]))
                told = json.dumps(dict(zip(names, cells, strict=False))).encode()
            for _ in range(1 + (number % 10 == 0)):
                ask(live, told, f"payment-{number}")
    archiver = Archiver(server.client(), ScoreFiles(str(tmp_path / "scores"), "fraud"))
    tomorrow = archiver.now() + 86_400_000
    assert archiver.once(tomorrow).rows == len(rows)
    assert archiver.merge_days(tomorrow) == []
    s3 = boto3.client("s3")
    today = (date.fromisoformat(day_of(tomorrow / 1000)) + timedelta(days=1)).isoformat()
    days = Landing(archiver.files, DATA, Limits(), BUCKET, PREFIX, s3).land(today, 7)
    assert sum(day.payments for day in days) == len(rows)
    assert {day.without for day in days} == {0}
    landed = []
    for day in days:
        landed.append(tmp_path / day.uri.rpartition("/")[2])
        s3.download_file(BUCKET, PREFIX + landed[-1].name, str(landed[-1]))
    before = written(tmp_path / "before.csv", history)
    whole = made_of(tmp_path / "whole", before, written(tmp_path / "after.csv", payments))
    found = made_of(tmp_path / "found", before, *landed)
    assert len(whole) == len(replayed.table)
    assert found.equals(whole)


def test_a_way_that_only_requests_have_is_no_line_of_a_file() -> None:
    """A file could not say it; the payment is counted as one without a line."""
    table: dict[str, Any] = {
        "id": "transfer",
        "time": {"column": "at", "format": "%Y-%m-%dT%H:%M:%S"},
        "amount": {"column": "sum"},
        "entities": {"payer": {"columns": ["who"]}},
    }
    data = declared(table)
    assert data.unlabelled == ("transfer", "at", "sum", "who")
    assert file_line(b'1,2026-01-01T00:00:00,2.00,"a ""b"", c",1', data) == (
        f'{data.fingerprint},1,2026-01-01T00:00:00,2.00,"a ""b"", c"'
    )
    assert file_line(b"1,2026-01-01T00:00:00,2.00", data) == f"{data.fingerprint},1,2026-01-01T00:00:00,2.00,"
    for line in (
        b",2026-01-01T00:00:00,2.00,a",
        b"1,@1767225600,2.00,a",
        b"1,2026-01-01T00:00:00,2.00,key:payer=0123456789abcdef;",
        b"1,2026-01-01T00:00:00,2.00,and key:payer=0123456789abcdef;",
    ):
        assert file_line(line, data) == ""
    other = declared({**table, "categories": {"kind": {"column": "kind"}}})
    assert other.fingerprint != data.fingerprint


@pytest.mark.parametrize(("told", "wanted"), [("1", True), ("0", False), ("", False)])
def test_lines_are_logged_only_where_it_is_said(told: str, wanted: bool) -> None:
    """They hold what the payment said of who paid."""
    assert read({"FRAUDLOOP_LIVE_LOG_LINES": told}).log_lines is wanted
    with pytest.raises(ValueError, match="FRAUDLOOP_LIVE_LOG_LINES is 'yes'; it must be 0 or 1"):
        read({"FRAUDLOOP_LIVE_LOG_LINES": "yes"})
