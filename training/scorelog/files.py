"""The score log's files: a part for each window of the stream, and one file for each day that is over.

A part is named by the first millisecond of its window, and `all.parquet` replaces the parts of its day. Days and
windows are those of the entries' ids, which the store gives out in ascending order. Entries that are no records lie
beside a part as `<window>.rejected.json`.
"""

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl

from statemachine.contracts import paths
from training import storage
from training.graph.days import DAY as DAY

WINDOW = 15_000  # milliseconds of a part; a day holds a whole number of them, and another width needs another folder
WHOLE = "all.parquet"
SCHEMA = {
    "id": pl.String,
    "request_id": pl.String,
    "at": pl.Float64,
    "time": pl.Int64,
    "transaction": pl.String,
    "probability": pl.Float32,
    "decision": pl.Boolean,
    "threshold": pl.Float32,
    "version": pl.String,
    "definition": pl.String,
    "degraded": pl.String,
    "latency_us": pl.Int32,
    "request": pl.String,
    "line": pl.String,
}


@dataclass(frozen=True)
class LogWindow:
    """One part's span of entry ids: milliseconds from `start` to before `end`."""

    start: int

    @classmethod
    def of(cls, entry: str) -> "LogWindow":
        """The window that an entry's id (`<milliseconds>-<number>`) lies in."""
        return cls(milliseconds(entry) // WINDOW * WINDOW)

    @property
    def end(self) -> int:
        """The first millisecond after it."""
        return self.start + WINDOW

    @property
    def day(self) -> str:
        """Its day, YYYY-MM-DD in UTC."""
        return day_of(self.start / 1000)


@dataclass(frozen=True)
class ScoreFiles:
    """Where one model's score log lies. `root` is `s3://<artifacts bucket>` or a local folder."""

    root: str
    model: str

    def part(self, window: LogWindow) -> str:
        """The records of a window."""
        return self._file(window.day, f"{window.start}.parquet")

    def rejected(self, window: LogWindow) -> str:
        """The entries of a window that are no records."""
        return self._file(window.day, f"{window.start}.rejected.json")

    def whole(self, day: str) -> str:
        """The records of a day that is over."""
        return self._file(day, WHOLE)

    def _file(self, day: str, name: str) -> str:
        return paths.scores_file(self.root, self.model, day, name)

    def archived(self, window: LogWindow) -> bool:
        """The window is in the log. A file appears only when it is complete, so no half of a window is."""
        return storage.exists(self.part(window)) or storage.exists(self.whole(window.day))

    def by_day(self) -> dict[str, list[str]]:
        """The files to read of each day, in the order of their entries. A day's `all.parquet` stands for its parts."""
        folder = paths.scores_folder(self.root, self.model)
        days: dict[str, list[str]] = {}
        for uri in storage.list_uris(folder):
            day, _, name = uri.removeprefix(f"{folder}/").partition("/")
            if name.endswith(".parquet"):
                days.setdefault(day, []).append(uri)
        return {day: _read(uris) for day, uris in sorted(days.items())}

    def left_over(self, day: str) -> list[str]:
        """Parts that a day's `all.parquet` has replaced."""
        uris = [uri for uri in storage.list_uris(self._file(day, "")) if uri.endswith(".parquet")]
        return [uri for uri in uris if uri != self.whole(day)] if self.whole(day) in uris else []


def merge_day(files: ScoreFiles, day: str, parts: Sequence[str]) -> None:
    """Makes the parts of a day that is over into one file, and deletes them. Safe to repeat at any point."""
    if parts and parts != [files.whole(day)]:
        with tempfile.TemporaryDirectory(prefix="fraudloop-scores-") as scratch:
            local = [storage.download(uri, Path(scratch) / f"{n:05d}.parquet") for n, uri in enumerate(parts)]
            made = Path(scratch) / WHOLE
            records(local).sink_parquet(made, compression="zstd", maintain_order=True)
            storage.upload(made, files.whole(day))
    for uri in files.left_over(day):
        storage.delete(uri)


def records(files: Path | list[Path]) -> pl.LazyFrame:
    """The records of local files, one file after the other. Files of an earlier release have no `line`: "" is there."""
    return pl.scan_parquet(files, schema=SCHEMA, missing_columns="insert").with_columns(pl.col("line").fill_null(""))


def expire(files: ScoreFiles, keep_days: int, today: str) -> list[str]:
    """Deletes the days that lie more than `keep_days` before `today`; returns them."""
    oldest = (date.fromisoformat(today) - timedelta(days=keep_days)).isoformat()
    folder = paths.scores_folder(files.root, files.model)
    gone = set()
    for uri in storage.list_uris(folder):
        day = uri.removeprefix(f"{folder}/").partition("/")[0]
        if day < oldest:
            storage.delete(uri)
            gone.add(day)
    return sorted(gone)


def day_of(seconds: float) -> str:
    """The day of a time, YYYY-MM-DD in UTC."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"


def milliseconds(entry: str) -> int:
    """When the store took an entry, from its id."""
    return int(entry.partition("-")[0])


def _read(uris: Iterable[str]) -> list[str]:
    found = sorted(uris, key=lambda uri: uri.rpartition("/")[2])
    whole = [uri for uri in found if uri.endswith(f"/{WHOLE}")]
    return whole or found
