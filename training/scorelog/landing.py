"""Scored payments as a model's data: a file for each day of the score log, in the declared columns, written once.

A server logs a payment's own line if its setting `log_lines` says so (`training.live.settings`). A day is taken when it
is over and the archiver has made it one file, so all its answers are there. The object's name follows from the day, and
it is written only if no object has that name: whoever is killed, or works beside another, lands the day once.
"""

import csv
import gzip
import io
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from botocore.exceptions import ClientError

from statemachine.contracts.errors import Misconfigured
from training import storage
from training.data.declaration import Declaration
from training.scorelog.files import ScoreFiles, records

NAME = "scores-{}.csv.gz"  # of a day, YYYY-MM-DD
ROWS = 100_000  # of one look
TAKEN = "PreconditionFailed"  # S3: an object of that name came meanwhile


@dataclass(frozen=True)
class LandedDay:
    """What became of one day of the log: `payments` are in the object, `without` were logged without a usable line.

    `state` is "landed", "there" (an object has its name already), "empty" (no line is in its log), or "open" (the
    archiver has not made it one file yet).
    """

    day: str
    uri: str
    state: str
    payments: int = 0
    without: int = 0


def land(
    files: ScoreFiles, data: Declaration, bucket: str, prefix: str, today: str, days: int, s3: Any
) -> list[LandedDay]:
    """Land each of the `days` days before `today` (YYYY-MM-DD, UTC) that has answers, oldest first.

    `s3` is boto3's client.

    Raises:
        Misconfigured: the declaration has a label that may not be empty, which a payment cannot tell.
    """
    if data.label and not data.label.empty:
        told = (
            f"the label column {data.label.column!r} may not be empty, and a payment that was just scored has no label"
        )
        raise Misconfigured(
            f"{told}: declare `label = false`, or `label = {{empty = true}}`, and land reports of fraud"
        )
    first = (date.fromisoformat(today) - timedelta(days=days)).isoformat()
    found = {day: uris for day, uris in files.by_day().items() if first <= day < today}
    return [_day(files, data, day, uris, bucket, prefix, s3) for day, uris in found.items()]


def _day(
    files: ScoreFiles, data: Declaration, day: str, uris: list[str], bucket: str, prefix: str, s3: Any
) -> LandedDay:
    key = prefix + NAME.format(day)
    uri = f"s3://{bucket}/{key}"
    if any(one["Key"] == key for one in s3.list_objects_v2(Bucket=bucket, Prefix=key).get("Contents", ())):
        return LandedDay(day, uri, "there")
    if uris != [files.whole(day)]:
        return LandedDay(day, uri, "open")
    with tempfile.TemporaryDirectory(prefix="fraudloop-landing-") as scratch:
        log = storage.download(uris[0], Path(scratch) / "log.parquet")
        made = Path(scratch) / "made.csv.gz"
        payments, without = _write(log, data, made)
        if not payments:
            return LandedDay(day, uri, "empty", without=without)
        try:
            with made.open("rb") as body:
                s3.put_object(Bucket=bucket, Key=key, Body=body, IfNoneMatch="*")
        except ClientError as error:
            if error.response["Error"]["Code"] != TAKEN:
                raise
            return LandedDay(day, uri, "there")
    return LandedDay(day, uri, "landed", payments, without)


def _write(log: Path, data: Declaration, made: Path) -> tuple[int, int]:
    """How many payments were written, and how many have no line of these columns. The same log gives the same bytes."""
    header, payments, total = io.StringIO(), 0, 0
    csv.writer(header, lineterminator="\n").writerow(data.known)
    end = ",\n" if data.label else "\n"
    with made.open("wb") as out, gzip.GzipFile("", "wb", fileobj=out, mtime=0) as packed:
        packed.write(header.getvalue().encode())
        for lines, rows in _lines(log, f"{data.fingerprint},"):
            packed.write("".join(f"{line}{end}" for line in lines).encode())
            payments, total = payments + len(lines), total + rows
    return payments, total - payments


def _lines(log: Path, mark: str) -> Iterator[tuple[list[str], int]]:
    """The lines that begin with `mark`, without it, and of how many records; some records at a time."""
    found, at = records(log).select("line"), 0
    while len(page := found.slice(at, ROWS).collect()):
        usable = page.filter(pl.col("line").str.starts_with(mark) & ~pl.col("line").str.contains("[\r\n]"))
        yield [line.removeprefix(mark) for line in usable["line"].to_list()], len(page)
        at += len(page)
