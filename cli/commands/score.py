"""`score`: the transactions of a file through `fraud_live`, as an application would send them."""

import csv
import hashlib
import itertools
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from cli.connection import running_home
from cli.output import errors
from clients.scoring import InvalidTransaction, Score, ScoringClient
from statemachine.contracts.errors import Misconfigured

BATCH = 32
ATTEMPTS = 3  # for each batch, at least
EVERY = 2.0  # seconds between two lines of progress
SHOWN = 5  # refused rows that are told; the output names all of them
FIELDS = ("row", "request_id", "probability", "decision", "degraded", "version", "history_used", "reasons", "error")

Row = tuple[int, Mapping[str, str]]


@dataclass
class Tally:
    """What became of the rows so far."""

    scored: int = 0
    decided: int = 0
    refused: int = 0
    degraded: Counter[str] = field(default_factory=Counter)
    began: float = field(default_factory=time.monotonic)

    def count(self, answers: Iterable[Score | str]) -> None:
        """Add answers; a text is why a row was refused."""
        for one in answers:
            if isinstance(one, str):
                self.refused += 1
                continue
            self.scored += 1
            self.decided += one.decision
            self.degraded.update([one.degraded] if one.degraded else [])

    def sentence(self) -> str:
        """As a person reads it."""
        rate = self.scored / max(1e-9, time.monotonic() - self.began)
        why = ", ".join(f"{count:,} {reason}" for reason, count in self.degraded.most_common())
        told = f"{self.scored:,} scored ({rate:,.0f}/s), {self.decided:,} of them flagged as fraud"
        told += f"; degraded: {why}" if why else ""
        return told + (f"; {self.refused:,} refused" if self.refused else "")


def score(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A CSV file with the model's columns.")],
    url: Annotated[
        list[str] | None,
        typer.Option(help="Triton's URL, http:// or grpc://; repeat it for several pods. Default: TRITON_URL."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The CSV file to write; standard output if not given.")] = None,
    reasons: Annotated[bool, typer.Option(help="Ask what raised or lowered each probability most.")] = False,
    deadline: Annotated[
        float, typer.Option(min=0.1, max=600, help="Seconds until 32 payments must be answered, in three attempts.")
    ] = 30.0,
) -> None:
    """Score each transaction of a CSV file, in the file's order, as payments that happen now.

    The online store counts them: later rows know the earlier ones. The label column is not sent. A row that the server
    refuses is written with its error, and the others are scored. Scored again within ten minutes, the same file gets
    the same answers and is not counted twice. Example: `fraudloop score day.csv --out scores.csv`
    """
    urls = url or _known()
    attempt = deadline / ATTEMPTS
    with (
        ScoringClient.of(*urls, deadline=deadline, attempt=attempt) as client,
        file.open(newline="", encoding="utf-8-sig") as text,
    ):
        rows = _rows(text, file, client.columns()[:-1])
        with out.open("w", newline="", encoding="utf-8") if out else nullcontext(sys.stdout) as target:
            tally = _scored(client, rows, _digest(file), csv.writer(target, lineterminator="\n"), reasons)
    errors.print(tally.sentence())
    if tally.refused:
        raise typer.Exit(1)


def _known() -> list[str]:
    if named := os.environ.get("TRITON_URL"):
        return [named]
    if endpoints := running_home().endpoints():
        return [endpoints.urls["triton"]]
    raise Misconfigured("no local system runs and TRITON_URL is not set; name Triton's address by --url")


def _digest(file: Path) -> str:
    with file.open("rb") as body:
        return hashlib.file_digest(body, "sha256").hexdigest()[:16]


def _rows(text: TextIO, file: Path, columns: tuple[str, ...]) -> Iterator[Row]:
    """The rows with their numbers, of the declared columns alone. Raises `Misconfigured`."""
    reader = csv.DictReader(text)
    try:
        present = [name for name in columns if name in (reader.fieldnames or ())]
    except (UnicodeDecodeError, csv.Error) as error:
        raise Misconfigured(f"{file} is no CSV file: {error}") from error
    if not present:
        raise Misconfigured(f"{file} has none of the model's columns in its first line: {', '.join(columns)}")
    return _cells(reader, file, present)


def _cells(reader: "csv.DictReader[str]", file: Path, columns: list[str]) -> Iterator[Row]:
    try:
        for number, row in enumerate(reader, 1):
            yield number, {name: row[name] or "" for name in columns}
    except (UnicodeDecodeError, csv.Error) as error:
        raise Misconfigured(f"{file}, after line {reader.line_num}: {error}") from error


def _scored(client: ScoringClient, rows: Iterator[Row], digest: str, output: Any, reasons: bool) -> Tally:
    """Send all rows, write all answers, and say now and then how far it is."""
    tally, told = Tally(), time.monotonic()
    output.writerow(FIELDS)
    while batch := list(itertools.islice(rows, BATCH)):
        answers = _answers(client, batch, digest, reasons)
        for (number, _), one in zip(batch, answers, strict=True):
            output.writerow(_line(number, one))
            if isinstance(one, str) and tally.refused < SHOWN:
                errors.print(f"row {number}: {one}", soft_wrap=True)
            tally.count([one])
        if time.monotonic() - told > EVERY:
            told = time.monotonic()
            errors.print(tally.sentence())
    return tally


def _answers(client: ScoringClient, batch: list[Row], digest: str, reasons: bool) -> list[Score | str]:
    """A batch with an invalid row counts nothing, so its rows are sent again one by one."""
    try:
        ids = [f"{digest}-{number}" for number, _ in batch]
        return [*client.score_many([row for _, row in batch], ids, reasons)]
    except InvalidTransaction as error:
        if len(batch) == 1:
            return [str(error)]
    return [answer for one in batch for answer in _answers(client, [one], digest, reasons)]


def _line(number: int, one: Score | str) -> list[object]:
    if isinstance(one, str):
        return [number, *[""] * (len(FIELDS) - 2), one]
    used = " ".join(map(str, one.history_used))
    told = json.dumps(one.reasons, ensure_ascii=False) if one.reasons else ""
    return [number, one.request_id, one.probability, int(one.decision), one.degraded, one.version, used, told, ""]


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(rich_help_panel="Models")(score)
