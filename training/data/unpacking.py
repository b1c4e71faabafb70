"""A gzip file unpacked within limits: once, never inside of another, and no further than size and ratio allow."""

import gzip
import zlib
from pathlib import Path
from typing import BinaryIO

from training.data.bounds import RATIO_FROM, Bounds
from training.data.checks import Problem

GZIP = b"\x1f\x8b"
PIECE = 1 << 20


class Unreadable(Exception):
    """The file as a whole, or a row of it, cannot be read; says which and what was expected."""

    def __init__(self, row: int, column: str, found: str, expected: str) -> None:
        self.problem = Problem(row, column, found, expected)
        super().__init__(str(self.problem))


class NoRoom(Exception):
    """The object is within its own limits, but the run's scratch space is not enough for it."""


def unpack(path: Path, scratch: Path, bounds: Bounds) -> Path:
    """The contents of a gzip file as a file in `scratch`.

    Raises:
        Unreadable: it is broken, holds a gzip file again, or unpacks beyond `bounds`.
        NoRoom: it needs more than `bounds.max_scratch_bytes`, of which 0 is none that is known.
    """
    target = scratch / f"{path.name}.unpacked"
    try:
        with gzip.open(path) as packed, target.open("wb") as plain:
            _copy(packed, plain, path.stat().st_size, bounds)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        found = f"broken gzip after {target.stat().st_size} bytes: {error}"
        raise Unreadable(0, "", found, "a complete gzip file") from error
    return target


def _copy(packed: gzip.GzipFile, plain: BinaryIO, size: int, bounds: Bounds) -> None:
    written = 0
    while piece := packed.read(PIECE):
        if not written and piece.startswith(GZIP):
            raise Unreadable(0, "", "gzip inside of gzip", "a file that was packed once")
        written += len(piece)
        if written > bounds.max_unpacked_bytes:
            limit = f"at most {bounds.max_unpacked_bytes:,} bytes (max_unpacked_bytes, or half of max_scratch_bytes)"
            raise Unreadable(0, "", f"{size:,} bytes that unpack to more", limit)
        if written > max(RATIO_FROM, bounds.max_unpack_ratio * size):
            limit = f"at most {bounds.max_unpack_ratio:g} times as many (max_unpack_ratio)"
            raise Unreadable(0, "", f"{size:,} bytes that unpack to {written:,} and more", limit)
        if 0 < bounds.max_scratch_bytes < written:
            raise NoRoom(f"{size:,} bytes unpack to more than the {bounds.max_scratch_bytes:,} bytes that are left")
        plain.write(piece)
