"""Reads the score log."""

import logging
import math
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl

from training import storage
from training.scorelog.files import DAY, SCHEMA, ScoreFiles, day_of, records

LOG = logging.getLogger("fraudloop.scorelog")
LIMIT = 1_000_000
AT_ONCE = 8  # files downloaded in parallel


def read(
    root: str,
    model: str,
    since: float = 0.0,
    limit: int = LIMIT,
    *,
    until: float = math.inf,
    only_requests: bool = False,
) -> pl.DataFrame:
    """The newest `limit` records that were answered from `since` to before `until` (seconds), oldest first.

    Columns and types are those of `files.SCHEMA`. `only_requests` keeps the records that hold a complete request. A
    file that cannot be read is left out and logged.
    """
    wanted = pl.col("at").is_between(since, until, closed="left")
    if only_requests:
        wanted &= pl.col("request") != ""
    found: list[pl.DataFrame] = []
    rows = 0
    for frame in frames(ScoreFiles(root.rstrip("/"), model), since, until):
        kept = frame.filter(wanted)
        found.append(kept)
        rows += len(kept)
        if rows >= limit:
            break
    return pl.concat(found[::-1]).tail(limit) if found else pl.DataFrame(schema=SCHEMA)


def frames(
    files: ScoreFiles, since: float = 0.0, until: float = math.inf, columns: Sequence[str] = tuple(SCHEMA)
) -> Iterator[pl.DataFrame]:
    """The rows of one file after the other, newest file first; days outside of `since` and `until` are left out.

    A row's `at` may lie a day beside the store's clock, no more, so rows of other times come along.
    """
    first = day_of(since - DAY) if since > DAY else ""
    last = day_of(until + DAY) if until < math.inf else "9"
    uris = [uri for day, uris in files.by_day().items() if first <= day <= last for uri in uris][::-1]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for begin in range(0, len(uris), AT_ONCE):
            for frame in pool.map(lambda uri: _frame(uri, columns), uris[begin : begin + AT_ONCE]):
                if frame is not None:
                    yield frame


def _frame(uri: str, columns: Sequence[str]) -> pl.DataFrame | None:
    try:
        with tempfile.TemporaryDirectory(prefix="fraudloop-scores-") as scratch:
            path = storage.download(uri, Path(scratch) / "file") if storage.is_s3(uri) else Path(uri)
            return records(path).select(columns).collect()
    except (OSError, pl.exceptions.PolarsError):
        LOG.exception("%s cannot be read and is left out", uri)
        return None
