"""A day of the score log becomes one object of the model's data, once. S3 is moto's."""

import gzip
from pathlib import Path
from typing import Any

import boto3
import polars as pl
import pytest
from botocore.exceptions import ClientError
from scored_records import scored

from statemachine.contracts.errors import Misconfigured
from training.data.checks import Limits
from training.data.declaration import Declaration
from training.data.declared import declared
from training.scorelog.archive import Archiver
from training.scorelog.files import SCHEMA, LogWindow, ScoreFiles
from training.scorelog.landing import LandedDay, Landing
from training.scorelog.read import read
from training.scorelog.record import parse

BUCKET, PREFIX, MODEL = "fraudloop-data", "data/fraud/", "fraud"
MIDNIGHT = 1_800_057_600_000  # 2027-01-16, in milliseconds
BEFORE, DAY = "2027-01-15", "2027-01-16"
KEY = f"{PREFIX}scores-{BEFORE}.csv.gz"
TABLE: dict[str, Any] = {
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


def landed(files: ScoreFiles, data: Declaration, s3: Any, today: str = DAY, **limits: Any) -> list[LandedDay]:
    return Landing(files, data, Limits(**limits), BUCKET, PREFIX, s3).land(today, 7)


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


def test_a_day_that_fails_costs_only_itself(files: ScoreFiles, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file is damaged, or S3 refuses it; the reason is told, and the next time it is tried again."""
    data = declaration()
    for days in range(3):
        at = MIDNIGHT - 1_000_000 - days * 86_400_000
        logged(files, line(data, "2027-01-15T10:00:00", "1.00", "a"), at=at)
    whole = Path(files.whole("2027-01-14"))
    kept = whole.read_bytes()
    whole.write_bytes(kept[:100])
    put = s3.put_object

    def busy(**given: Any) -> Any:
        if given["Key"].endswith("01-13.csv.gz"):
            raise ClientError({"Error": {"Code": "ConditionalRequestConflict", "Message": "again"}}, "PutObject")
        return put(**given)

    monkeypatch.setattr(s3, "put_object", busy)
    conflict, damaged, done = landed(files, data, s3)
    assert (conflict.state, damaged.state, done.state) == ("failed", "failed", "landed")
    assert "ConditionalRequestConflict" in conflict.why
    assert damaged.why
    monkeypatch.undo()
    whole.write_bytes(kept)
    assert [one.state for one in landed(files, data, s3)] == ["landed", "landed", "there"]


def test_only_a_day_that_is_over_and_whole(files: ScoreFiles, s3: Any) -> None:
    """A part may still come before the archiver has made it one file; today is not over; older days are left alone."""
    data = declaration()
    told = line(data, "2027-01-15T10:00:00", "1.00", "a")
    logged(files, told, merged=False)
    assert [one.state for one in landed(files, data, s3)] == ["open"]
    assert landed(files, data, s3, today=BEFORE) == []
    logged(files, told)
    assert landed(files, data, s3, today="2027-01-23") == []
    assert [one.state for one in landed(files, data, s3, today="2027-01-22")] == ["landed"]


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


def test_of_one_id_the_last_line_counts(files: ScoreFiles, s3: Any) -> None:
    """A client asked again under another request id; a file with many such rows would be quarantined."""
    data = declaration(id="transfer")
    given = [("1", "10:00:00", "a"), ("2", "10:00:01", "b"), ("1", "10:00:00", "a"), ("3", "10:00:02", "c")]
    logged(files, *(line(data, number, f"2027-01-15T{at}", "1.00", who) for number, at, who in given))
    [told] = landed(files, data, s3)
    assert (told.state, told.payments, told.repeated) == ("landed", 3, 1)
    rows = gzip.decompress(body(s3)).decode().splitlines()
    assert [row.partition(",")[0] for row in rows] == ["transfer", "2", "1", "3"]


def test_a_file_that_would_be_quarantined_is_not_written(files: ScoreFiles, s3: Any) -> None:
    """Without an id nobody knows whether equal payments are one; the reason names the setting that would admit them."""
    data = declaration()
    told = [line(data, f"2027-01-15T10:00:{second:02d}", "1.00", "a") for second in range(49)]
    logged(files, *told, told[7])
    [refused] = landed(files, data, s3)
    assert refused.state == "refused"
    assert refused.why == "1 of 50 payments equal another, more than 1.0% (max_duplicate_share)"
    [refused] = landed(files, data, s3, max_duplicate_share=0.02, min_rows=51)
    assert refused.why == "50 payments, fewer than 51 (min_file_rows)"
    [done] = landed(files, data, s3, max_duplicate_share=0.02, min_rows=50)
    assert (done.state, done.payments, done.repeated) == ("landed", 50, 1)


def test_files_in_an_order_cannot_be_made(files: ScoreFiles, s3: Any) -> None:
    """Payments are answered out of order."""
    with pytest.raises(Misconfigured, match="order = 'card'"):
        landed(files, declaration(), s3, order="card")


@pytest.mark.parametrize(
    "changed",
    [
        {"time": {**TABLE["time"], "zone": "Europe/Berlin"}},
        {"amount": {"column": "sum", "decimal": ","}},
        {"columns": ["who", "sum", "at"]},
        {"id": "transfer"},
    ],
)
def test_a_line_that_was_meant_otherwise_has_another_fingerprint(changed: dict[str, Any]) -> None:
    """Equal names do not make equal columns: an hour in Berlin is another time."""
    assert declaration(**changed).fingerprint != declaration().fingerprint


def test_a_declaration_that_reads_lines_alike_has_the_same() -> None:
    """How values become features, which are admitted, and what reports group by, change nothing in a line."""
    kind, age = {"column": "kind", "whole": [0, 9]}, {"column": "age"}
    plain = declaration(categories={"kind": kind}, numbers={"age": age})
    few = {**kind, "groups": {"few": [0, 3]}, "empty": True}
    amount = {**TABLE["amount"], "limit": 50.0}
    other = declaration(categories={"what": few}, numbers={"age": {**age, "log": True}}, amount=amount, salt="x")
    assert other.fingerprint == plain.fingerprint


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
