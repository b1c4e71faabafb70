"""Moves a model's answers from the online store's stream to the score log: nothing is lost or doubled.

`python -m training.scorelog.archive --model fraud --root s3://<artifacts bucket>` runs until SIGTERM tells it to end;
FRAUDLOOP_LIVE_URL names the store.

The store gives out ascending ids, so a window that is over never changes. It becomes one file, whose name follows from
the window; only when the file is there does the window leave the stream. Whoever dies between the two, or works beside
another archiver, finds the file and leaves it as it is. Neither a lock nor an acknowledgement decides anything. The
group `archive` only keeps count, so that entries which the stream dropped by its own limit are noticed.
"""

import argparse
import json
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import valkey

from training import storage
from training.scorelog.files import SCHEMA, LogWindow, ScoreFiles, day_of, expire, merge_day, milliseconds
from training.scorelog.metrics import push_archived
from training.scorelog.record import parse, stream

LOG = logging.getLogger("fraudloop.scorelog")
SETTLED = 5_000  # milliseconds: a window is over when the store's clock is so far past it, also after a failover
GROUP = "archive"
PAGE = 5_000  # entries asked for at once
MOST_FAILURES = 20  # in succession; then the process ends, and its Deployment starts it anew
TIMEOUT = 10.0  # seconds of one command
STORE, PASSWORD = "FRAUDLOOP_LIVE_URL", "FRAUDLOOP_LIVE_PASSWORD"
COUNTS = ("rows", "rejected", "windows", "lost")

Entry = tuple[bytes, Mapping[bytes, bytes]]
Upload = Callable[[Path, str], None]


@dataclass(frozen=True)
class Archived:
    """What one round did. `lost` entries left the stream by its own limit before they were archived.

    `lag` is the age in seconds of the oldest entry that is left.
    """

    rows: int = 0
    rejected: int = 0
    windows: int = 0
    lost: int = 0
    lag: float = 0.0

    def __add__(self, more: "Archived") -> "Archived":
        """Counts add up; the lag is the newer one."""
        counts = {name: getattr(self, name) + getattr(more, name) for name in COUNTS}
        return Archived(**counts, lag=more.lag)


@dataclass(frozen=True)
class Archiver:
    """One model's archiver. `client` is a `valkey.Valkey`; `upload` copies a local file to a URI, all or nothing."""

    client: Any
    files: ScoreFiles
    upload: Upload = storage.upload

    @property
    def stream(self) -> str:
        """Where the answers come from."""
        return stream(self.files.model)

    def once(self, now: int) -> Archived:
        """Writes each window that is over at `now` (the store's clock, milliseconds), oldest first.

        Raises `valkey.ValkeyError`, and what storage raises.
        """
        total = Archived()
        while True:
            gone = self._gone()
            total += Archived(lost=self._missed(gone))
            first = self._first()
            if not first or LogWindow.of(first).end + SETTLED > now:
                return total + Archived(lag=max(0.0, (now - milliseconds(first)) / 1000) if first else 0.0)
            window = LogWindow.of(first)
            entries = list(self._entries(window))
            if not self.files.archived(window):
                total += self._write(window, entries)
            self._count(f"{window.end - 1}", gone + len(entries))
            self.client.xtrim(self.stream, minid=window.end, approximate=False)

    def merge_days(self, now: int) -> list[str]:
        """Makes each day that is over into one file; call it after `once`. Returns the days that it could not merge."""
        today, failed = day_of((now - SETTLED) / 1000), []
        for day, uris in self.files.by_day().items():
            if day < today:
                try:
                    merge_day(self.files, day, uris)
                except (OSError, pl.exceptions.PolarsError):
                    LOG.exception("the parts of %s cannot be merged; they stay as they are", day)
                    failed.append(day)
        return failed

    def now(self) -> int:
        """The store's clock, in milliseconds: the one that the ids follow."""
        seconds, microseconds = self.client.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    def _first(self) -> str:
        """The id of the oldest entry; "" if there is none."""
        found = self.client.xrange(self.stream, count=1)
        return str(found[0][0].decode()) if found else ""

    def _gone(self) -> int:
        """How many entries were on the stream once and left it."""
        try:
            self.client.xgroup_create(self.stream, GROUP, id="0", mkstream=True, entries_read=0)
        except valkey.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        told = self.client.xinfo_stream(self.stream)
        return int(told["entries-added"]) - int(told["length"])

    def _missed(self, gone: int) -> int:
        """How many of those were never archived. They count once."""
        [group] = [each for each in self.client.xinfo_groups(self.stream) if _text(each["name"]) == GROUP]
        missed = gone - int(group["entries-read"] or 0)
        if missed > 0:
            self._count(_text(group["last-delivered-id"]), gone)
        return max(0, missed)

    def _count(self, last: str, archived: int) -> None:
        self.client.xgroup_setid(self.stream, GROUP, id=last, entries_read=archived)

    def _entries(self, window: LogWindow) -> Iterator[Entry]:
        begin: Any = window.start
        while page := self.client.xrange(self.stream, begin, window.end - 1, count=PAGE):
            yield from page
            begin = f"({page[-1][0].decode()}"

    def _write(self, window: LogWindow, entries: Iterable[Entry]) -> Archived:
        rows, rejected = [], []
        for entry, fields in entries:
            try:
                rows.append({"id": entry.decode(), **asdict(parse(fields))})
            except ValueError as error:
                rejected.append({"id": entry.decode(), "problem": str(error), "entry": _shown(fields)})
        with tempfile.TemporaryDirectory(prefix="fraudloop-scores-") as scratch:
            if rejected:
                aside = Path(scratch) / "rejected.json"
                aside.write_text(json.dumps(rejected, indent=1))
                self.upload(aside, self.files.rejected(window))
            part = Path(scratch) / "part.parquet"
            pl.DataFrame(rows, SCHEMA).write_parquet(part, compression="zstd")
            self.upload(part, self.files.part(window))  # last: this file says that the window is archived
        return Archived(len(rows), len(rejected), 1)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _shown(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    told = {name.decode(errors="replace"): value.decode(errors="replace")[:2000] for name, value in fields.items()}
    return {name: value for name, value in told.items() if name != "line"}  # `forget` does not look here


def run(archiver: Archiver, ended: threading.Event, *, every: float, keep_days: int) -> int:
    """Archives every `every` seconds until `ended`; returns the exit status: 1 after `MOST_FAILURES` in succession."""
    total, failures, merged = Archived(), 0, ""
    while not ended.is_set():
        try:
            now = archiver.now()
            total += archiver.once(now)
            today = day_of((now - SETTLED) / 1000)
            if today != merged:
                archiver.merge_days(now)
                expire(archiver.files, keep_days, today)
                merged = today
            failures = 0
        except Exception:
            failures += 1
            LOG.exception("round failed, %d in succession; the entries stay in the stream", failures)
            if failures >= MOST_FAILURES:
                return 1
        push_archived(archiver.files.model, asdict(total))
        ended.wait(every)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The process; see the module's docstring."""
    given = _arguments(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    url = os.environ.get(STORE, "")
    if not url:
        LOG.error("%s is not set; it names the online store, as in valkeys://host:6379", STORE)
        return 2
    password = os.environ.get(PASSWORD) or None
    client = valkey.Valkey.from_url(url, password=password, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)
    archiver = Archiver(client, ScoreFiles(given.root.rstrip("/"), given.model))
    if given.once:
        LOG.info("archived %s", archiver.once(archiver.now()))
        return 0
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, partial(_end, ended))
    return run(archiver, ended, every=given.every, keep_days=given.keep_days)


def _end(ended: threading.Event, *_: Any) -> None:
    ended.set()


def _positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    def number(text: str) -> float:
        if not (given := kind(text)) > 0:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return given

    return number


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="training.scorelog.archive", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", required=True, help="a model of fraudloop.toml")
    parser.add_argument("--root", required=True, help="s3://<artifacts bucket>, or a local folder")
    parser.add_argument("--every", type=_positive(float), default=15.0, help="seconds between two rounds")
    parser.add_argument("--keep-days", type=_positive(int), default=400, help="older days are deleted")
    parser.add_argument("--once", action="store_true", help="one round, then end")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
