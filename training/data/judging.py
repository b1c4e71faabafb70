"""One raw file converted into clean Parquet and judged; of local files only, so that it can run in `worker`."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from statemachine.contracts.object_kind import ObjectKind
from training.data import checks, file_reader, parser, reports
from training.data.bounds import Bounds
from training.data.checks import Counts, Limits, Problem
from training.data.declaration import Declaration
from training.data.presets import preset
from training.data.unpacking import Unreadable

NO_SPACE, TOO_LARGE = "No space left on device", "File too large"  # as the system's errors end in polars' words


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

    def cut(self, bounds: Bounds) -> "ValidationResult":
        """The same with as many problems, and as much text in each, as a report can hold."""
        told = tuple(problem.cut(bounds.max_message_length) for problem in self.problems[: bounds.max_problems])
        return replace(self, problems=told)


def parsed(record: Mapping[str, Any]) -> ValidationResult:
    """A verdict from its plain values.

    Raises:
        KeyError, TypeError: it lacks some, or has others.
    """
    return ValidationResult(**{**record, "problems": tuple(Problem(**problem) for problem in record["problems"])})


def judge(
    raw: Path,
    clean: Path,
    limits: Limits,
    scratch: Path,
    bounds: Bounds | None = None,
    data: Declaration | None = None,
) -> ValidationResult:
    """Converts one raw file into clean columns at `clean`, and judges it, as `data` declares (default: TabFormer).

    Raises:
        Unreadable: it is no table at all.
    """
    data = data or preset()
    file = file_reader.open_raw(raw, scratch, bounds, data)
    _convert(file, clean, data)
    frame = scan([clean], data)
    counts = checks.count(frame, limits, data)
    found = checks.problems(frame, file.text, file.missing, counts, limits, data)
    return _verdict(counts, found, clean)


def judge_reports(
    raw: Path, clean: Path, limits: Limits, scratch: Path, bounds: Bounds, data: Declaration
) -> ValidationResult:
    """Converts a labels file into clean rows at `clean` and judges it, as `training.data.reports` says.

    Raises:
        Unreadable: it is no table at all.
    """
    found = reports.convert(raw, clean, limits, scratch, bounds, data)
    if found:
        return ValidationResult(0, tuple(found))
    return ValidationResult(problems=(), sha256=_sha256(clean), **reports.span(clean, data))


def judge_as(
    kind: ObjectKind, raw: Path, clean: Path, limits: Limits, scratch: Path, bounds: Bounds, data: Declaration
) -> ValidationResult:
    """`judge` or `judge_reports`, by what the object holds."""
    return (judge_reports if kind is ObjectKind.LABELS else judge)(raw, clean, limits, scratch, bounds, data)


def scan(clean: list[Path], data: Declaration | None = None) -> pl.LazyFrame:
    """The clean columns of many objects, one after the other, with `time` and the keys of entities."""
    return pl.scan_parquet(clean).with_columns(**parser.keyed(data))


def _convert(file: file_reader.RawFile, clean: Path, data: Declaration) -> None:
    """As typed columns, because they parse fastest; if a value has a wrong type, as text, so that it can be told."""
    failed: Exception | None = None
    for frame in (file.typed, file.text):
        try:
            frame.select(**parser.canonical(data)).sink_parquet(clean, compression="lz4", statistics=False)
        except (pl.exceptions.PolarsError, OSError) as error:
            if TOO_LARGE in str(error):
                limit = "at most max_unpacked_bytes of clean rows"
                raise Unreadable(0, "", f"{clean.stat().st_size:,} bytes of clean rows and more", limit) from error
            if NO_SPACE in str(error):
                raise
            failed = error
            continue
        return
    assert failed is not None
    raise file_reader.explain(file, failed)


def _verdict(counts: Counts, found: list[Problem], clean: Path) -> ValidationResult:
    told = asdict(counts)
    kept = {name: told[name] for name in ("rows", "frauds", "first", "last", "unordered", "duplicates")}
    return ValidationResult(problems=tuple(found), sha256="" if found else _sha256(clean), **kept)


def _sha256(path: Path) -> str:  # not `integrity`'s: that imports boto3, which costs more than this whole process
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
