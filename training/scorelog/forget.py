"""Deletes one entity's answers from the archived score log; the online store's own part is `training.live.forget`."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from training import storage
from training.scorelog.files import ScoreFiles, records

PASSES = 3  # a day that is merged meanwhile is looked at again


@dataclass(frozen=True)
class Erased:
    """What was deleted: answers, complete requests of other answers that told of the entity, and files rewritten."""

    answers: int = 0
    requests: int = 0
    files: int = 0

    def __add__(self, more: "Erased") -> "Erased":
        return Erased(self.answers + more.answers, self.requests + more.requests, self.files + more.files)


def erase(files: ScoreFiles, mark: str, tells: Callable[[str], bool]) -> Erased:
    """Deletes answers whose transaction holds `mark`, and of the others the request if it `tells` of the entity.

    It rewrites each file that holds any, whole, one after the other; killed, it is repeated. Only files of the archive
    are looked at: what still waits in the stream has to be deleted before.
    """
    total = Erased()
    for _ in range(PASSES):
        found = Erased()
        for uris in files.by_day().values():
            for uri in uris:
                found += _file(uri, mark, tells)
        total += found
        if not found.files:
            return total
    return total


def _file(uri: str, mark: str, tells: Callable[[str], bool]) -> Erased:
    with tempfile.TemporaryDirectory(prefix="fraudloop-erase-") as scratch:
        try:
            rows = records(storage.download(uri, Path(scratch) / "before.parquet")).collect()
        except FileNotFoundError:  # merged into its day meanwhile; the next pass reads that
            return Erased()
        kept = rows.filter(~pl.col("transaction").str.contains(mark, literal=True))
        telling = [row for row, text in enumerate(kept["request"].to_list()) if text and tells(text)]
        if len(kept) == len(rows) and not telling:
            return Erased()
        blank = pl.int_range(pl.len()).is_in(telling)
        made = kept.with_columns(request=pl.when(blank).then(pl.lit("")).otherwise(pl.col("request")))
        made.write_parquet(Path(scratch) / "after.parquet", compression="zstd")
        storage.upload(Path(scratch) / "after.parquet", uri)
    return Erased(len(rows) - len(kept), len(telling), 1)
