"""A day of the score log becomes one object of the model's data, once. S3 is moto's."""

import gzip
from pathlib import Path
from typing import Any

import boto3
import polars as pl
import pytest
from scored_records import scored

from statemachine.contracts.errors import Misconfigured
from training.data.declaration import Declaration
from training.data.declared import declared
from training.scorelog.archive import Archiver
from training.scorelog.files import SCHEMA, LogWindow, ScoreFiles
from training.scorelog.landing import LandedDay, land
from training.scorelog.read import read
from training.scorelog.record import parse

BUCKET, PREFIX, MODEL = "fraudloop-data", "data/fraud/", "fraud"
MIDNIGHT = 1_800_057_600_000  # 2027-01-16, in milliseconds
BEFORE, DAY = "2027-01-15", "2027-01-16"
KEY = f"{PREFIX}scores-{BEFORE}.csv.gz"
TABLE = {
    "time": {"column": "at", "format": "%Y-%m-%dT%H:%M:%S"},
    "amount": {"column": "sum"},
    "entities": {"payer": {"columns": ["who"]}},
}


def declaration(**more: Any) -> Declaration:
    return declared({**TABLE, **more})


@pytest.fixture
def s3(system: Any) -> Any:
    """A client of the local cloud, whose data bucket is empty."""
    return boto3.client("s3")


@pytest.fixture
def files(tmp_path: Any) -> ScoreFiles:
    return ScoreFiles(str(tmp_path), MODEL)


def logged(files: ScoreFiles, *lines: str, merged: bool = True, at: int = MIDNIGHT - 1_000_000) -> None:
    """A log of one window, which its archiver has made the day's one file."""
    records = [scored(number, line=line) for number, line in enumerate(lines)]
    rows = [{"id": f"{at}-{number}", **vars(record)} for number, record in enumerate(records)]
    window = LogWindow.of(f"{at}-0")
    folder = files.part(window).rpartition("/")[0]
    Path(folder).mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows, SCHEMA).write_parquet(files.part(window))
    if merged:
        assert Archiver(None, files).merge_days(MIDNIGHT + 86_400_000) == []


def line(data: Declaration, *cells: str) -> str:
    return ",".join((data.fingerprint, *cells))


def landed(files: ScoreFiles, data: Declaration, s3: Any, **more: Any) -> list[LandedDay]:
    given = {"today": DAY, "days": 7, **more}
    return land(files, data, BUCKET, PREFIX, given["today"], given["days"], s3)


def body(s3: Any) -> bytes:
    return s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read()


def test_a_day_lands_once(files: ScoreFiles, s3: Any) -> None:
    """Under the name of the day, with the declared header, in the order of the answers; and not again."""
    data = declaration()
    logged(files, line(data, "2027-01-15T10:00:00", "1.00", '"A, Inc"'), line(data, "2027-01-15T10:00:01", "2.00", "b"))
    [told] = landed(files, data, s3)
    assert told == LandedDay(BEFORE, f"s3://{BUCKET}/{KEY}", "landed", 2, 0)
    first = body(s3)
    assert gzip.decompress(first).decode().splitlines() == [
        "at,sum,who", '2027-01-15T10:00:00,1.00,"A, Inc"', "2027-01-15T10:00:01,2.00,b",
    ]  # fmt: skip
    assert [one.state for one in landed(files, data, s3)] == ["there"]
    assert len(s3.list_object_versions(Bucket=BUCKET, Prefix=PREFIX)["Versions"]) == 1
    s3.delete_object(Bucket=BUCKET, Key=KEY)
    assert [one.state for one in landed(files, data, s3)] == ["landed"]
    assert body(s3) == first, "the same log gives the same bytes, so its ETag tells that it is the same"


def test_one_that_came_meanwhile_is_left_as_it_is(files: ScoreFiles, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two jobs find no object; S3 takes the first."""
    data = declaration()
    logged(files, line(data, "2027-01-15T10:00:00", "1.00", "a"))
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=b"the other's")
    monkeypatch.setattr(s3, "list_objects_v2", lambda **_: {})
    assert [one.state for one in landed(files, data, s3)] == ["there"]
    assert body(s3) == b"the other's"


def test_only_a_day_that_is_over_and_whole(files: ScoreFiles, s3: Any) -> None:
    """A part may still come before the archiver has made it one file; today is not over; older days are left alone."""
    data = declaration()
    told = line(data, "2027-01-15T10:00:00", "1.00", "a")
    logged(files, told, merged=False)
    assert [one.state for one in landed(files, data, s3)] == ["open"]
    assert landed(files, data, s3, today=BEFORE) == []
    logged(files, told)
    assert landed(files, data, s3, today="2027-01-23", days=7) == []
    assert [one.state for one in landed(files, data, s3, today="2027-01-22", days=7)] == ["landed"]


def test_what_has_no_line_of_these_columns_is_counted(files: ScoreFiles, s3: Any) -> None:
    """Servers without the setting, of another declaration, or one line that is two; alone they make no object."""
    data, other = declaration(), declaration(categories={"kind": {"column": "kind"}})
    bad = ["", line(other, "2027-01-15T10:00:00", "1.00", "a", "x"), line(data, "2027-01-15T10:00:00", "1\n2", "a")]
    logged(files, *bad)
    [told] = landed(files, data, s3)
    assert (told.state, told.without) == ("empty", 3)
    logged(files, *bad, line(data, "2027-01-15T10:00:00", "1.00", "a"), at=MIDNIGHT - 90_000_000)
    told, again = landed(files, data, s3)
    assert (told.state, told.payments, told.without) == ("landed", 1, 3)
    assert (again.state, again.without) == ("empty", 3)


def test_a_label_may_be_empty_or_not_there(files: ScoreFiles, s3: Any) -> None:
    """A payment that was just scored has none."""
    with pytest.raises(Misconfigured, match=r"'fraud' may not be empty.*declare `label = false`"):
        landed(files, declaration(label={"column": "fraud"}), s3)
    data = declaration(label={"column": "fraud", "empty": True})
    assert data.fingerprint == declaration().fingerprint
    logged(files, line(data, "2027-01-15T10:00:00", "1.00", "a"))
    assert [one.state for one in landed(files, data, s3)] == ["landed"]
    assert gzip.decompress(body(s3)).decode().splitlines() == ["at,sum,who,fraud", "2027-01-15T10:00:00,1.00,a,"]


def test_a_log_of_an_earlier_release_is_read(files: ScoreFiles, tmp_path: Any) -> None:
    """Its entries and files have no line; a day may hold both."""
    logged(files, "x,1", merged=False)
    window = LogWindow.of(f"{MIDNIGHT - 2_000_000}-0")
    former = pl.DataFrame([{"id": f"{window.start}-0", **vars(scored(9))}], SCHEMA).drop("line")
    former.write_parquet(files.part(window))
    assert read(str(tmp_path), MODEL)["line"].to_list() == ["", "x,1"]
    assert Archiver(None, files).merge_days(MIDNIGHT + 86_400_000) == []
    assert read(str(tmp_path), MODEL)["line"].to_list() == ["", "x,1"]
    told = {name.encode(): value.encode() for name, value in scored(1).fields().items() if name != "line"}
    assert parse(told) == scored(1)
