"""Measures a local system: the memory of its processes and the size of its folder."""

from contextlib import suppress
from pathlib import Path

import psutil


def memory(pid: int) -> int:
    """Return the bytes that a process and its descendants use (PSS: shared pages are divided among their users)."""
    with suppress(psutil.NoSuchProcess):
        first = psutil.Process(pid)
        return sum(_proportional(process.pid) for process in [first, *first.children(recursive=True)])
    return 0


def on_disk(folder: Path) -> int:
    """Return the bytes of the files in a folder. Hard links to one file count once."""
    sizes: dict[tuple[int, int], int] = {}
    for path in folder.rglob("*"):
        with suppress(OSError):
            if path.is_file() and not path.is_symlink():
                found = path.stat()
                sizes[found.st_dev, found.st_ino] = found.st_size
    return sum(sizes.values())


def _proportional(pid: int) -> int:
    with suppress(OSError, ValueError, StopIteration):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) * 1024
    return 0
