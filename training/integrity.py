"""sha256 of bytes, files and folders, and `MANIFEST.json`, which lists them and is written last."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from training import storage

MANIFEST = "MANIFEST.json"
FORMAT = 1


class Tampered(ValueError):
    """A file is not the one that `MANIFEST.json` lists."""


def sha256_bytes(body: bytes) -> str:
    """Returns the hex digest of bytes."""
    return hashlib.sha256(body).hexdigest()


def sha256_file(path: str | Path) -> str:
    """Returns the hex digest of a local file, which is read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests(folder: str | Path) -> dict[str, str]:
    """Returns the sha256 of each file in a local folder by its relative path, without the manifest itself."""
    root = Path(folder)
    names = {path.relative_to(root).as_posix(): path for path in storage.walk(root)}
    return {name: sha256_file(path) for name, path in names.items() if name != MANIFEST}


def sha256_folder(folder: str | Path) -> str:
    """Returns one digest of the names and contents of all files in a local folder."""
    return sha256_bytes(storage.dump_json(digests(folder)))


def write_manifest(folder: str | Path) -> str:
    """Writes `MANIFEST.json` for all files in a local folder. Returns the sha256 of the manifest itself."""
    body = storage.dump_json({"format": FORMAT, "files": digests(folder)})
    storage.write_bytes(str(Path(folder) / MANIFEST), body)
    return sha256_bytes(body)


def listed(folder: str) -> dict[str, str]:
    """Returns the sha256 of each file by its relative path, as the folder's `MANIFEST.json` lists them.

    Raises:
        FileNotFoundError: there is no manifest, so the folder was never finished.
    """
    files: dict[str, str] = storage.read_json(storage.join(folder, MANIFEST))["files"]
    return files


def differing(folder: str | Path, expected: Mapping[str, str]) -> list[str]:
    """Returns the files of a local folder that are missing, changed or not in `expected`, sorted by name."""
    found = digests(folder)
    return sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
