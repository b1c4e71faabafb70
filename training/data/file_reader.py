"""One raw file, whatever it is: CSV, gzipped CSV or Parquet, recognised by its contents and never by its name."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from training.data.bounds import Bounds
from training.data.declaration import Declaration
from training.data.parser import raw_schema
from training.data.presets import preset
from training.data.unpacking import GZIP, Unreadable, unpack

PARQUET = b"PAR1"
FOREIGN = {
    b"PK\x03\x04": "a zip archive",
    b"BZh": "a bzip2 file",
    b"\xfd7zX": "an xz file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"ORC": "an ORC file",
    b"Obj\x01": "an Avro file",
}
HEADER_BYTES = 65_536
Columns = Mapping[str, type[pl.DataType]]
ROW_BYTES = 40  # what one row takes at least, once it is unpacked

__all__ = ["RawFile", "Unreadable", "explain", "open_raw"]


@dataclass(frozen=True)
class RawFile:
    """A readable file: `typed` fails on the first value of a wrong type, `text` has all as it was written.

    Columns that the file lacks are named in `missing` and empty in both, so that the others can still be judged.
    """

    path: Path
    typed: pl.LazyFrame
    text: pl.LazyFrame
    missing: tuple[str, ...] = ()
    parquet: bool = False


def open_raw(path: Path, scratch: Path, bounds: Bounds | None = None, data: Declaration | None = None) -> RawFile:
    """The file behind `path`; a gzipped one is unpacked into `scratch` first, since polars would unpack it into memory.

    `data` says which columns are read (default: TabFormer's).

    Raises:
        Unreadable: it is empty, cut short, not text in UTF-8, has none of our columns, or unpacks beyond `bounds`.
    """
    path, parquet = _plain(path, scratch, bounds or Bounds())
    data = data or preset()
    known = raw_schema(data)
    return _parquet(path, bounds or Bounds(), known) if parquet else _csv(path, known)


def open_text(path: Path, scratch: Path, bounds: Bounds, columns: Sequence[str]) -> RawFile:
    """As `open_raw`, of these columns, and all as text."""
    path, parquet = _plain(path, scratch, bounds)
    known = dict.fromkeys(columns, pl.String)
    return _parquet(path, bounds, known) if parquet else _csv(path, known)


def all_text(path: Path, scratch: Path, bounds: Bounds | None = None) -> pl.LazyFrame:
    """All columns of a file as text, whatever they are called. Raises `Unreadable` as `open_raw` does."""
    path, parquet = _plain(path, scratch, bounds or Bounds())
    if parquet:
        return _scanned(path, bounds or Bounds())[0].select(pl.all().cast(pl.String, strict=False))
    return _as_text(path, _header(path))


def _plain(path: Path, scratch: Path, bounds: Bounds) -> tuple[Path, bool]:
    """The file that can be read, unpacked if need be, and whether it is Parquet."""
    with path.open("rb") as file:
        magic = file.read(4)
    if not magic:
        raise Unreadable(0, "", "an empty file", "a header and rows")
    if magic[:2] == GZIP:
        path = unpack(path, scratch, bounds)
        with path.open("rb") as file:
            magic = file.read(4)
    foreign = next((words for start, words in FOREIGN.items() if magic.startswith(start)), None)
    if foreign:
        raise Unreadable(0, "", foreign, "CSV, gzipped CSV or Parquet")
    return path, magic == PARQUET


def _parquet(path: Path, bounds: Bounds, known: Columns) -> RawFile:
    frame, names = _scanned(path, bounds)
    text = frame.select(pl.all().cast(pl.String, strict=False))
    typed = frame.with_columns(pl.col(pl.String).replace("", None))
    return replace(_table(path, names, typed, text.with_columns(pl.all().replace("", None)), known), parquet=True)


def _scanned(path: Path, bounds: Bounds) -> tuple[pl.LazyFrame, list[str]]:
    try:
        frame = pl.scan_parquet(path)
        names = frame.collect_schema().names()
        rows = frame.select(pl.len()).collect().item()  # of the footer alone
    except (pl.exceptions.PolarsError, OSError) as error:
        raise Unreadable(0, "", f"broken Parquet: {_first_line(error)}", "a complete Parquet file") from error
    if rows * ROW_BYTES > bounds.max_unpacked_bytes:
        limit = f"at most {bounds.max_unpacked_bytes // ROW_BYTES:,} rows (max_unpacked_bytes, {ROW_BYTES} a row)"
        raise Unreadable(0, "", f"{path.stat().st_size:,} bytes of Parquet with {rows:,} rows", limit)
    return frame, names


def _csv(path: Path, known: Columns) -> RawFile:
    names = _header(path)
    typed = pl.scan_csv(path, schema={name: known.get(name, pl.String) for name in names})
    return _table(path, names, typed, _as_text(path, names), known)


def _as_text(path: Path, names: list[str]) -> pl.LazyFrame:
    return pl.scan_csv(path, schema=dict.fromkeys(names, pl.String)).with_columns(pl.all().replace("", None))


def _header(path: Path) -> list[str]:
    with path.open("rb") as file:
        line, end, _ = file.read(HEADER_BYTES + 1).partition(b"\n")
    if not end and len(line) > HEADER_BYTES:
        raise Unreadable(0, "", f"a first line of more than {HEADER_BYTES:,} bytes", "a header and rows")
    line = line.removeprefix(b"\xef\xbb\xbf")
    try:
        names = [name.strip().strip('"') for name in line.decode().split(",")]
    except UnicodeDecodeError as error:
        raise Unreadable(0, "", f"a header that is not UTF-8: {line[:40]!r}", "text in UTF-8") from error
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise Unreadable(0, ", ".join(twice), "the column twice", "each column once")
    return names


def _table(path: Path, names: list[str], typed: pl.LazyFrame, text: pl.LazyFrame, known: Columns) -> RawFile:
    there = [name for name in names if name in known]
    if not there:
        raise Unreadable(0, "", f"columns {', '.join(names)}"[:200], f"columns {', '.join(known)} (the model's data)")
    missing = tuple(name for name in known if name not in there)
    empty = {name: pl.lit(None, dtype=known[name]) for name in missing}
    text = text.select(there).with_columns(**{name: pl.lit(None, dtype=pl.String) for name in missing})
    return RawFile(path, typed.select(there).with_columns(**empty), text, missing)


def explain(file: RawFile, error: Exception) -> Unreadable:
    """Why polars cannot read a file even as text: a CSV's first line that is not UTF-8 or has too many fields."""
    if file.parquet:
        return Unreadable(0, "", f"broken Parquet: {_first_line(error)}", "a complete Parquet file")
    with file.path.open("rb") as lines:
        names = next(lines).decode(errors="replace").split(",")
        for row, line in enumerate(lines, 1):
            broken = _undecodable(line, names) or _too_long(line, len(names))
            if broken:
                return Unreadable(row, *broken)
    return Unreadable(0, "", "a file that the CSV parser refuses", "comma-separated text in UTF-8")


def _undecodable(line: bytes, names: list[str]) -> tuple[str, str, str] | None:
    try:
        line.decode()
    except UnicodeDecodeError as error:
        cells = line[: error.start].count(b",")
        column = names[cells].strip('"\r\n') if cells < len(names) else ""
        return column, f"bytes that are not UTF-8: {line[max(0, error.start - 8) : error.start + 8]!r}", "text in UTF-8"
    return None


def _too_long(line: bytes, columns: int) -> tuple[str, str, str] | None:
    quoted = line.count(b'"') > 0  # a comma may stand inside quotes: not counted here
    fields = line.count(b",") + 1
    return None if quoted or fields <= columns else ("", f"{fields} fields", f"{columns} fields")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
