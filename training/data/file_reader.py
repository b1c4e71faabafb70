"""One raw file, whatever it is: CSV, gzipped CSV or Parquet, recognised by its contents and never by its name."""

import gzip
import shutil
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from training.data.checks import Problem
from training.data.parser import RAW_SCHEMA

GZIP, PARQUET = b"\x1f\x8b", b"PAR1"
HEADER_BYTES = 65_536
REQUIRED = tuple(RAW_SCHEMA)


class Unreadable(Exception):
    """The file as a whole, or a row of it, cannot be read; says which and what was expected."""

    def __init__(self, row: int, column: str, found: str, expected: str) -> None:
        self.problem = Problem(row, column, found, expected)
        super().__init__(str(self.problem))


@dataclass(frozen=True)
class RawFile:
    """A readable file: `typed` fails on the first value of a wrong type, `text` has all as it was written.

    Columns that the file lacks are named in `missing` and empty in both, so that the others can still be judged.
    """

    path: Path
    typed: pl.LazyFrame
    text: pl.LazyFrame
    missing: tuple[str, ...] = ()


def open_raw(path: Path, scratch: Path) -> RawFile:
    """The file behind `path`; a gzipped one is unpacked into `scratch` first, since polars would unpack it into memory.

    Raises:
        Unreadable: it is empty, cut short, not text in UTF-8, or has none of our columns.
    """
    with path.open("rb") as file:
        magic = file.read(4)
    if not magic:
        raise Unreadable(0, "", "an empty file", "a header and rows")
    if magic[:2] == GZIP:
        return open_raw(_unpacked(path, scratch), scratch)
    return _parquet(path) if magic == PARQUET else _csv(path)


def _unpacked(path: Path, scratch: Path) -> Path:
    target = scratch / f"{path.name}.unpacked"
    try:
        with gzip.open(path) as packed, target.open("wb") as plain:
            shutil.copyfileobj(packed, plain, 1 << 20)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Unreadable(
            0, "", f"broken gzip after {target.stat().st_size} bytes: {error}", "a complete gzip file"
        ) from error
    return target


def _parquet(path: Path) -> RawFile:
    try:
        frame = pl.scan_parquet(path)
        names = frame.collect_schema().names()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise Unreadable(0, "", f"broken Parquet: {_first_line(error)}", "a complete Parquet file") from error
    return _table(path, names, frame, frame.select(pl.all().cast(pl.String)))


def _csv(path: Path) -> RawFile:
    with path.open("rb") as file:
        line = file.read(HEADER_BYTES).partition(b"\n")[0].removeprefix(b"\xef\xbb\xbf")
    try:
        names = [name.strip().strip('"') for name in line.decode().split(",")]
    except UnicodeDecodeError as error:
        raise Unreadable(0, "", f"a header that is not UTF-8: {line[:40]!r}", "text in UTF-8") from error
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise Unreadable(0, ", ".join(twice), "the column twice", "each column once")
    typed = pl.scan_csv(path, schema={name: RAW_SCHEMA.get(name, pl.String) for name in names})
    text = pl.scan_csv(path, schema=dict.fromkeys(names, pl.String)).with_columns(pl.all().replace("", None))
    return _table(path, names, typed, text)


def _table(path: Path, names: list[str], typed: pl.LazyFrame, text: pl.LazyFrame) -> RawFile:
    there = [name for name in names if name in RAW_SCHEMA]
    if not there:
        raise Unreadable(0, "", f"columns {', '.join(names)}"[:200], f"columns {', '.join(REQUIRED)}")
    missing = tuple(name for name in REQUIRED if name not in there)
    empty = {name: pl.lit(None, dtype=RAW_SCHEMA[name]) for name in missing}
    text = text.select(there).with_columns(**{name: pl.lit(None, dtype=pl.String) for name in missing})
    return RawFile(path, typed.select(there).with_columns(**empty), text, missing)


def explain(file: RawFile) -> Unreadable:
    """Why polars cannot read a CSV file even as text: the first line that is not UTF-8 or has too many fields."""
    with file.path.open("rb") as lines:
        columns = next(lines).count(b",") + 1
        for row, line in enumerate(lines, 1):
            broken = _undecodable(line) or _too_long(line, columns)
            if broken:
                return Unreadable(row, *broken)
    return Unreadable(0, "", "a file that the CSV parser refuses", "comma-separated text in UTF-8")


def _undecodable(line: bytes) -> tuple[str, str, str] | None:
    try:
        line.decode()
    except UnicodeDecodeError as error:
        cells = line[: error.start].count(b",")
        column = REQUIRED[cells] if cells < len(REQUIRED) else ""
        return column, f"bytes that are not UTF-8: {line[max(0, error.start - 8) : error.start + 8]!r}", "text in UTF-8"
    return None


def _too_long(line: bytes, columns: int) -> tuple[str, str, str] | None:
    quoted = line.count(b'"') > 0  # a comma may stand inside quotes: not counted here
    fields = line.count(b",") + 1
    return None if quoted or fields <= columns else ("", f"{fields} fields", f"{columns} fields")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
