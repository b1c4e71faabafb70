"""One object of the training window: converted once into clean Parquet, judged once, and cached under its identity.

The cache holds `<identity>.parquet` and, written after it, `<identity>.json`: the verdict, with the Parquet file's
sha256. So a new night's file costs nothing for the old ones, and a cache that was cut short or changed is made anew.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from training import integrity, storage
from training.data import checks, file_reader, parser
from training.data.checks import Counts, Limits, Problem

FORMAT = 1


@dataclass(frozen=True)
class Source:
    """Where one object is and what it is called; `identity` is a file name that only equal contents share."""

    uri: str
    identity: str
    name: str
    version_id: str | None = None
    etag: str = ""


@dataclass(frozen=True)
class ValidationResult:
    """One object's judgement. `sha256` is of the clean Parquet file; accepted if there is no problem."""

    rows: int
    problems: tuple[Problem, ...]
    sha256: str = ""
    frauds: int = 0
    first: int = 0
    last: int = 0
    unordered: int = 0
    duplicates: int = 0

    @property
    def accepted(self) -> bool:
        """Whether a model may learn from it."""
        return not self.problems


def take_in(source: Source, limits: Limits, cache: str | None, scratch: Path) -> tuple[ValidationResult, Path]:
    """The verdict on an object and where its clean rows are: from the cache, or converted and put there."""
    clean = scratch / f"{source.identity}.parquet"
    known = _from_cache(source, limits, cache, clean) if cache else None
    if known is not None:
        return known, clean
    verdict = _judged(source, clean, limits, scratch)
    if not cache:
        return verdict, clean
    if verdict.accepted:
        storage.upload(clean, storage.join(cache, clean.name))
    storage.write_json(storage.join(cache, f"{source.identity}.json"), _record(verdict, limits))
    return verdict, clean


def _judged(source: Source, clean: Path, limits: Limits, scratch: Path) -> ValidationResult:
    try:
        return judge(_fetched(source, scratch), clean, limits, scratch)
    except file_reader.Unreadable as error:
        return ValidationResult(0, (error.problem,))


def judge(raw: Path, clean: Path, limits: Limits, scratch: Path) -> ValidationResult:
    """Converts one raw file into clean columns at `clean`, and judges it.

    Raises:
        Unreadable: it is no table at all.
    """
    file = file_reader.open_raw(raw, scratch)
    _convert(file, clean)
    frame = scan([clean])
    counts = checks.count(frame, limits)
    found = checks.problems(frame, file.text, file.missing, counts, limits)
    return _verdict(counts, found, clean)


def scan(clean: list[Path]) -> pl.LazyFrame:
    """The clean columns of many objects, one after the other, with `time` and `card_key`."""
    return pl.scan_parquet(clean).with_columns(**parser.keyed())


def _convert(file: file_reader.RawFile, clean: Path) -> None:
    """As typed columns, because they parse fastest; if a value has a wrong type, as text, so that it can be told."""
    for frame in (file.typed, file.text):
        try:
            frame.select(**parser.canonical()).sink_parquet(clean, compression="lz4", statistics=False)
        except pl.exceptions.PolarsError:
            continue
        return
    raise file_reader.explain(file)


def _verdict(counts: Counts, found: list[Problem], clean: Path) -> ValidationResult:
    told = asdict(counts)
    kept = {name: told[name] for name in ("rows", "frauds", "first", "last", "unordered", "duplicates")}
    return ValidationResult(problems=tuple(found), sha256="" if found else integrity.sha256_file(clean), **kept)


def _fetched(source: Source, scratch: Path) -> Path:
    if not storage.is_s3(source.uri):
        return Path(source.uri)
    found = storage.etag(source.uri, source.version_id)
    if source.etag and found != source.etag.strip('"'):
        raise file_reader.Unreadable(0, "", f"etag {found}: overwritten since", f"the object with etag {source.etag}")
    return storage.download(source.uri, scratch / f"{source.identity}.raw", source.version_id)


def _record(verdict: ValidationResult, limits: Limits) -> dict[str, Any]:
    return {"format": FORMAT, "limits": _limits(limits), "verdict": asdict(verdict)}


def _limits(limits: Limits) -> dict[str, Any]:
    # A later `latest` accepts whatever an earlier one did; as part of the key it would empty the cache every day.
    return {name: value for name, value in asdict(limits).items() if name != "latest"}


def _from_cache(source: Source, limits: Limits, cache: str, clean: Path) -> ValidationResult | None:
    """The cached verdict, if it was made under the same limits and its rows are still what they were."""
    try:
        record = storage.read_json(storage.join(cache, f"{source.identity}.json"))
        if record["format"] != FORMAT or record["limits"] != _limits(limits):
            return None
        verdict = _parsed(record["verdict"])
        if not verdict.accepted:
            return None  # it may have failed by a date that has come since; judging it again is rare and cheap
        storage.download(storage.join(cache, clean.name), clean)
    except (FileNotFoundError, KeyError, TypeError, ValueError):
        return None
    return verdict if integrity.sha256_file(clean) == verdict.sha256 else None


def _parsed(record: Mapping[str, Any]) -> ValidationResult:
    return ValidationResult(**{**record, "problems": tuple(Problem(**problem) for problem in record["problems"])})
