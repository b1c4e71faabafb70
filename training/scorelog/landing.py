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
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from botocore.exceptions import BotoCoreError, ClientError
from numpy.typing import NDArray

from statemachine.contracts.errors import Misconfigured
from training import storage
from training.data.checks import Limits
from training.data.declaration import Declaration
from training.scorelog.files import ScoreFiles, records

NAME = "scores-{}.csv.gz"  # of a day, YYYY-MM-DD
ROWS = 20_000  # of one look
FAILS = (OSError, ValueError, IndexError, csv.Error, pl.exceptions.PolarsError, BotoCoreError, ClientError)
TAKEN = "PreconditionFailed"  # S3: an object of that name came meanwhile


@dataclass(frozen=True)
class LandedDay:
    """What became of one day of the log: `payments` were landed, `without` were logged without a usable line.

    `repeated` lines are of a payment that has another line: with its id, or if none is declared, equal in all columns.
    Of one id the last line counts. `state` is "landed", "there" (an object has its name already, which is not read),
    "empty" (its log has no usable line), "open" (the archiver has not made it one file), "refused" (intake would
    quarantine the file, so it is not written) or "failed"; `why` says the reason of the last two.
    """

    day: str
    uri: str
    state: str
    payments: int = 0
    without: int = 0
    repeated: int = 0
    why: str = ""


@dataclass(frozen=True)
class Landing:
    """Lands days of `files` in the columns of `data`, as objects of `bucket` under `prefix`; `s3` is boto3's client.

    `limits` are what the model's preprocess tolerates in one file.
    """

    files: ScoreFiles
    data: Declaration
    limits: Limits
    bucket: str
    prefix: str
    s3: Any

    def land(self, today: str, days: int) -> list[LandedDay]:
        """Land each of the `days` days before `today` (YYYY-MM-DD, UTC) that has answers, oldest first.

        A day that fails costs only itself.

        Raises:
            Misconfigured: a label may not be empty, which a payment cannot tell; or files must be in time's order, and
                payments are in that of their answers.
        """
        label = self.data.label
        if label and not label.empty:
            told = f"the label column {label.column!r} may not be empty, and a payment that was just scored has none"
            raise Misconfigured(f"{told}: declare `label = false`, or `label = {{empty = true}}`, and land reports")
        if self.limits.order != "any":
            told = f"preprocess has order = {self.limits.order!r}, and the log is in the order of the answers"
            raise Misconfigured(f"{told}: leave `order` out")
        first = (date.fromisoformat(today) - timedelta(days=days)).isoformat()
        found = {day: uris for day, uris in self.files.by_day().items() if first <= day < today}
        return [self._tried(day, uris) for day, uris in found.items()]

    def _tried(self, day: str, uris: list[str]) -> LandedDay:
        told = LandedDay(day, f"s3://{self.bucket}/{self.prefix}{NAME.format(day)}", "there")
        try:
            return self._day(told, uris)
        except FAILS as error:
            first = next(iter(str(error).splitlines()), "")
            return replace(told, state="failed", why=f"{type(error).__name__}: {first[:200]}")

    def _day(self, told: LandedDay, uris: list[str]) -> LandedDay:
        _, key = storage.split(told.uri)
        if storage.listed(self.s3, self.bucket, key):
            return told
        if uris != [self.files.whole(told.day)]:
            return replace(told, state="open")
        with tempfile.TemporaryDirectory(prefix="fraudloop-landing-") as scratch:
            log = storage.download(uris[0], Path(scratch) / "log.parquet")
            made = self._write(log, Path(scratch) / "made.csv.gz", told)
            if made.state == "landed":
                try:
                    with (Path(scratch) / "made.csv.gz").open("rb") as body:
                        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body, IfNoneMatch="*")
                except ClientError as error:
                    if error.response["Error"]["Code"] != TAKEN:
                        raise
                    return told
        return made

    def _write(self, log: Path, file: Path, told: LandedDay) -> LandedDay:
        """Write the file of a day's log. The same log gives the same bytes."""
        newest, repeated, without = self._newest(log)
        told = replace(told, payments=int(newest.sum()), without=without, repeated=repeated)
        if not told.payments:
            return replace(told, state="empty")
        if why := self._refusal(told):
            return replace(told, state="refused", why=why)
        header, end, at = io.StringIO(), ",\n" if self.data.label else "\n", 0
        csv.writer(header, lineterminator="\n").writerow(self.data.known)
        with file.open("wb") as out, gzip.GzipFile("", "wb", fileobj=out, mtime=0) as packed:
            packed.write(header.getvalue().encode())
            for lines, _ in self._lines(log):
                kept = compress(lines, newest[at : at + len(lines)])
                packed.write("".join(f"{line}{end}" for line in kept).encode())
                at += len(lines)
        return replace(told, state="landed")

    def _newest(self, log: Path) -> tuple[NDArray[np.bool_], int, int]:
        """Which of the usable lines count, how many repeat another, and how many records have no usable line."""
        keys, total, number = [np.zeros(0, np.int64)], 0, 0
        if self.data.id:
            number = self.data.unlabelled.index(self.data.id)
        for lines, rows in self._lines(log):
            named = (next(csv.reader([line]))[number] for line in lines) if self.data.id else lines
            keys.append(np.fromiter(map(hash, named), np.int64, len(lines)))
            total += rows
        key = np.concatenate(keys)
        _, last = np.unique(key[::-1], return_index=True)
        newest = np.zeros(len(key), bool)
        newest[len(key) - 1 - last] = True
        return newest if self.data.id else np.ones(len(key), bool), len(key) - len(last), total - len(key)

    def _refusal(self, told: LandedDay) -> str:
        """Why intake would quarantine the file; "" if nothing is known that would."""
        most = self.limits.max_duplicate_share
        if not self.data.id and told.repeated > most * told.payments:
            equal = f"{told.repeated:,} of {told.payments:,} payments equal another"
            return f"{equal}, more than {most:.1%} (max_duplicate_share)"
        if told.payments < self.limits.min_rows:
            return f"{told.payments:,} payments, fewer than {self.limits.min_rows:,} (min_file_rows)"
        return ""

    def _lines(self, log: Path) -> Iterator[tuple[list[str], int]]:
        """The usable lines without their fingerprint, and of how many records; some records at a time."""
        mark, found, at = f"{self.data.fingerprint},", records(log).select("line"), 0
        while len(page := found.slice(at, ROWS).collect()):
            usable = page.filter(pl.col("line").str.starts_with(mark) & ~pl.col("line").str.contains("[\r\n]"))
            yield [line.removeprefix(mark) for line in usable["line"].to_list()], len(page)
            at += len(page)
