"""`index.parquet`: every object that a model has learned from so far, one row each.

Each preprocess reads the one before it, leaves out what was set aside or overwritten, adds what is new, and writes its
own.

    bucket, key, etag, version_id  String   which write; the version id may be ""
    size, epoch                    Int64    bytes of the object; the run that brought it in
    arrived_at                     Float64  seconds since the epoch: when it was written, as its event or a listing says
    rows, frauds                   Int64    clean rows or reports, known frauds among them
    first, last                    Int64    seconds since the epoch: the earliest and the latest row; of labels see
                                            `training.data.reports.span`
    kind                           String   data or labels; in an index of an earlier release, which has no such
                                            column, data
    sha256                         String   of the clean Parquet file
    clean                          String   where that file is cached ("" if nowhere); it may be deleted at any time
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from statemachine.contracts.object_kind import ObjectKind
from training import integrity, storage
from training.data.validation import Source, ValidationResult
from training.outcome import Permanent

NAME = "index.parquet"
TEXT, COUNTED = ("bucket", "key", "etag", "version_id"), ("rows", "frauds", "first", "last")
SCHEMA = (
    dict.fromkeys(TEXT, pl.String)
    | {"size": pl.Int64, "epoch": pl.Int64, "arrived_at": pl.Float64}
    | dict.fromkeys(COUNTED, pl.Int64)
    | {"kind": pl.String, "sha256": pl.String, "clean": pl.String}
)
Entry = Mapping[str, Any]
Write = tuple[str, str, str]


def read(manifest: Mapping[str, Any]) -> list[Entry]:
    """The rows of the index that a manifest names, without the writes that it says are removed; of format 1, none.

    Raises:
        Permanent: the index is gone, or is not the one that was reported.
    """
    uri = manifest.get("index")
    if not uri:
        return []
    try:
        body = storage.read_bytes(uri)
    except FileNotFoundError as error:
        raise Permanent(f"the index {uri} is gone; `fraudloop reindex {manifest['model']}` builds it again") from error
    expected = manifest.get("index_sha256")
    if expected and integrity.sha256_bytes(body) != expected:
        raise Permanent(f"the index {uri} was changed since it was reported (its sha256 is not {expected})")
    removed = {write_of(entry) for entry in manifest.get("removed", [])}
    rows = pl.read_parquet(io.BytesIO(body)).to_dicts()
    return [{**row, "new": False} for row in rows if write_of(row) not in removed]


def former(indexed: Iterable[Entry], entries: Sequence[Entry], accepted: Sequence[bool]) -> list[Entry]:
    """The rows of the index that still teach beside a manifest's `entries`.

    An accepted write takes the place of whatever was there under its key; one that is bad takes only its own.
    """
    names = {(e["bucket"], e["key"]) for e, good in zip(entries, accepted, strict=True) if good}
    judged = {write_of(entry) for entry in entries}
    return [row for row in indexed if (row["bucket"], row["key"]) not in names and write_of(row) not in judged]


def parted(indexed: Iterable[Entry], begin: int) -> tuple[list[Entry], list[Entry]]:
    """The objects with rows from the second `begin` on and all labels, and those whose rows all lie before."""
    sides: tuple[list[Entry], list[Entry]] = ([], [])
    for row in indexed:
        sides[is_data(row) and int(row["last"]) < begin].append(row)
    return sides


def is_data(row: Entry) -> bool:
    """Whether an object holds transactions, not labels."""
    return (row.get("kind") or ObjectKind.DATA.value) == ObjectKind.DATA.value


def dumps(
    entries: Iterable[tuple[Entry, Source, ValidationResult]], cache: str | None, past: Iterable[Entry] = ()
) -> bytes:
    """The index of accepted objects and of `past` ones, sorted by bucket and key: equal objects, equal bytes."""
    rows = [_row(entry, source, verdict, cache) for entry, source, verdict in entries]
    rows += [{name: row.get(name) for name in SCHEMA} | {"kind": ObjectKind.DATA.value} for row in past]
    frame = pl.DataFrame(rows, schema=SCHEMA).sort("bucket", "key")
    file = io.BytesIO()
    frame.write_parquet(file, compression="zstd", statistics=False)
    return file.getvalue()


def write_of(entry: Entry) -> Write:
    """Which write of an object it is."""
    return entry["bucket"], entry["key"], entry["etag"]


def _row(entry: Entry, source: Source, verdict: ValidationResult, cache: str | None) -> dict[str, Any]:
    written = {name: entry.get(name) or "" for name in TEXT}
    size, epoch, at = int(entry.get("size") or 0), int(entry.get("epoch") or 0), float(entry.get("arrived_at") or 0)
    counted = {name: getattr(verdict, name) for name in COUNTED}
    clean = storage.join(cache, f"{source.identity}.parquet") if cache else ""
    kind = entry.get("kind") or ObjectKind.DATA.value
    when = {"kind": kind, "size": size, "epoch": epoch, "arrived_at": at}
    return {**written, **when, **counted, "sha256": verdict.sha256, "clean": clean}
