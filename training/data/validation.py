"""The objects of a run: each converted once into clean Parquet, judged once, and cached under what was read.

The cache holds `<identity>.parquet` and, written after it, `<identity>.json`: the verdict, with the Parquet file's
sha256, and what was read. So a new file costs nothing for the old ones, and a cache that was cut short or changed is
made anew. Downloads run ahead of the conversion, bounded in number and in scratch space.
"""

import shutil
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from training import integrity, storage
from training.data import judging
from training.data.bounds import Bounds
from training.data.checks import Limits
from training.data.conversion import Converter
from training.data.declaration import Declaration
from training.data.fetching import Denied, Lost, fetch, is_denied, refuse_if_nothing_is_readable
from training.data.judging import ValidationResult, judge, scan
from training.data.source import Source
from training.outcome import Permanent

__all__ = ["Source", "ValidationResult", "judge", "scan", "take_in"]

FORMAT = 2
DISK_SHARE = 0.9

Obtained = ValidationResult | storage.Fetched | Lost


@dataclass
class Scratch:
    """The run's local folder and how many bytes of it are taken: clean rows, and raw files in flight."""

    folder: Path
    most: int
    kept: int = 0
    in_flight: int = 0

    @property
    def room(self) -> int:
        """Bytes that are left."""
        return self.most - self.kept - self.in_flight

    @property
    def share(self) -> int:
        """Bytes that one object may take; one that needs more is bad alone, for a person may never enlarge the disk."""
        return self.most // 2

    def needed(self, source: Source) -> int:
        """Bytes that its raw file will take; none if it is too large to be fetched at all."""
        return source.size if source.size <= self.share else 0

    def clean(self, source: Source) -> Path:
        """Where the clean rows of a source are."""
        return self.folder / f"{source.identity}.parquet"

    def raw(self, source: Source) -> Path:
        """Where its bytes are until they are converted."""
        return self.folder / f"{source.identity}.raw"

    def keep(self, path: Path) -> None:
        """Counts clean rows. Raises `Permanent` if they are too many."""
        self.kept += path.stat().st_size
        if self.room < 0:
            raise self.too_small(path.name)

    def too_small(self, what: str) -> Permanent:
        """The error that says so."""
        return Permanent(
            f"max_scratch_bytes = {self.most:,} is not enough: {self.kept:,} bytes are clean rows and {what} needs "
            "more; raise it, or the pod's ephemeral storage"
        )


@dataclass(frozen=True)
class Taken:
    """What was obtained in one way or another, and what to say of it."""

    limits: Limits
    bounds: Bounds
    cache: str | None
    scratch: Scratch


def take_in(
    sources: Sequence[Source],
    limits: Limits,
    bounds: Bounds,
    cache: str | None,
    folder: Path,
    data: Declaration | None = None,
) -> dict[str, ValidationResult]:
    """Each object's verdict by its identity; the accepted ones' clean rows are in `folder`.

    Raises:
        Permanent: too many objects, too little scratch space, or a bucket of which nothing can be read.
    """
    sources = list({source.identity: source for source in sources}.values())
    if len(sources) > bounds.max_files:
        raise Permanent(f"{len(sources):,} objects are more than max_files = {bounds.max_files:,}")
    most = bounds.max_scratch_bytes or int(shutil.disk_usage(folder).free * DISK_SHARE)
    scratch = Scratch(folder, most)
    bounds = replace(bounds, max_unpacked_bytes=min(bounds.max_unpacked_bytes, scratch.share))
    taken = Taken(limits, bounds, cache, scratch)
    with Converter(bounds, folder, data) as converter, ThreadPoolExecutor(bounds.max_downloads) as pool:
        return _judged(sources, taken, converter, pool)


def _judged(
    sources: Sequence[Source], taken: Taken, converter: Converter, pool: ThreadPoolExecutor
) -> dict[str, ValidationResult]:
    verdicts: dict[str, ValidationResult] = {}
    denied: list[tuple[Source, Denied]] = []
    readable: set[str] = set()
    writing: list[Future[None]] = []
    for source, obtained in _obtained_ahead(sources, taken, pool, converter):
        match obtained:
            case ValidationResult():
                verdicts[source.identity] = obtained
            case Lost():
                verdicts[source.identity] = ValidationResult(0, (obtained.problem,)).cut(taken.bounds)
                denied += [(source, obtained)] if isinstance(obtained, Denied) else []
            case _:
                readable.add(storage.split(source.uri)[0])
                verdicts[source.identity] = verdict = _converted(source, obtained, taken, converter)
                writing.append(pool.submit(_to_cache, source, verdict, obtained, taken))
        if verdicts[source.identity].accepted:
            taken.scratch.keep(taken.scratch.clean(source))
    if denied:
        refused = {source.identity for source, _ in denied}
        refuse_if_nothing_is_readable(denied, readable, (each for each in sources if each.identity not in refused))
    for written in writing:
        written.result()
    return verdicts


def _obtained_ahead(
    sources: Sequence[Source], taken: Taken, pool: ThreadPoolExecutor, converter: Converter
) -> Iterator[tuple[Source, Obtained]]:
    """Every source in its order, with what was obtained; those that follow are being obtained meanwhile."""
    scratch, ahead = taken.scratch, deque[tuple[Source, Future[Obtained]]]()

    def oldest() -> Iterator[tuple[Source, Obtained]]:
        source, obtained = ahead.popleft()
        yield source, obtained.result()
        scratch.in_flight -= scratch.needed(source)

    for source in sources:
        needed = scratch.needed(source)
        while ahead and (len(ahead) >= taken.bounds.max_downloads or needed > scratch.room):
            yield from oldest()
        if needed > scratch.room:
            raise scratch.too_small(source.name)
        scratch.in_flight += needed
        ahead.append((source, pool.submit(_obtained, source, taken, converter)))
    while ahead:
        yield from oldest()


def _obtained(source: Source, taken: Taken, converter: Converter) -> Obtained:
    """The cached verdict, or the object's own bytes, or why there are none. Runs in a thread."""
    known = _from_cache(source, taken) if taken.cache else None
    if known is not None:
        return known
    if source.size > taken.scratch.share:
        limit = f"at most {taken.scratch.share:,} bytes, half of the scratch space (max_scratch_bytes)"
        return Lost(f"{source.size:,} bytes", limit)
    converter.start()
    try:
        return fetch(source, taken.scratch.raw(source))
    except Lost as lost:
        return lost


def _converted(source: Source, found: storage.Fetched, taken: Taken, converter: Converter) -> ValidationResult:
    clean = taken.scratch.clean(source)
    verdict = converter.convert(found.path, clean, taken.limits, taken.scratch.room, source.kind)
    taken.scratch.raw(source).unlink(missing_ok=True)
    if not verdict.accepted:
        clean.unlink(missing_ok=True)
    return verdict


def _to_cache(source: Source, verdict: ValidationResult, found: storage.Fetched, taken: Taken) -> None:
    if taken.cache is None:
        return
    if verdict.accepted:
        clean = taken.scratch.clean(source)
        storage.upload(clean, storage.join(taken.cache, clean.name))
    read = {"etag": found.etag, "version_id": found.version_id, "sha256": found.sha256}
    record = {"format": FORMAT, "limits": _limits(taken.limits), "read": read, "verdict": asdict(verdict)}
    storage.write_json(storage.join(taken.cache, f"{source.identity}.json"), record)


def _limits(limits: Limits) -> dict[str, Any]:
    # A later `latest` accepts whatever an earlier one did; as part of the key it would empty the cache every day.
    return {name: value for name, value in asdict(limits).items() if name != "latest"}


def _from_cache(source: Source, taken: Taken) -> ValidationResult | None:
    """The cached verdict, if it was made of this very content, under the same limits, and its rows are unchanged."""
    cache, clean = str(taken.cache), taken.scratch.clean(source)
    try:
        record: Mapping[str, Any] = storage.read_json(storage.join(cache, f"{source.identity}.json"))
        made = (record["format"], record["limits"], record["read"]["etag"])
        if made != (FORMAT, _limits(taken.limits), source.etag):
            return None
        verdict = judging.parsed(record["verdict"])
        if not verdict.accepted:
            return None  # it may have failed by a date that has come since; judging it again is rare and cheap
        storage.download(storage.join(cache, clean.name), clean)
    except (FileNotFoundError, KeyError, TypeError, ValueError):
        return None
    except ClientError as error:
        if not is_denied(error):
            raise
        return None  # without the right to list the bucket, S3 says 403 of what is not there
    return verdict if integrity.sha256_file(clean) == verdict.sha256 else None
