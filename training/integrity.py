"""Proof that files are what they were: sha256 of bytes, files and folders, and `MANIFEST.json`, written last."""

import hashlib
from pathlib import Path

from training import storage

MANIFEST = "MANIFEST.json"
FORMAT = 1


class Tampered(ValueError):
    """A folder does not hold exactly what its `MANIFEST.json` says."""


def sha256_bytes(body: bytes) -> str:
    """Hex digest of bytes."""
    return hashlib.sha256(body).hexdigest()


def sha256_file(path: str | Path) -> str:
    """Hex digest of a local file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests(folder: str | Path) -> dict[str, str]:
    """sha256 of each file below a local folder by its relative path, the manifest itself left out."""
    root = Path(folder)
    names = {path.relative_to(root).as_posix(): path for path in storage.walk(root)}
    return {name: sha256_file(path) for name, path in names.items() if name != MANIFEST}


def sha256_folder(folder: str | Path) -> str:
    """One digest for the contents and names of a whole local folder."""
    return sha256_bytes(storage.dump_json(digests(folder)))


def write_manifest(folder: str | Path) -> str:
    """Writes `MANIFEST.json` over everything now in a local folder, and returns the manifest's own sha256."""
    body = storage.dump_json({"format": FORMAT, "files": digests(folder)})
    storage.write_bytes(str(Path(folder) / MANIFEST), body)
    return sha256_bytes(body)


def verify_manifest(folder: str | Path) -> dict[str, str]:
    """The digests of a local folder, after comparing each file with its manifest.

    Raises:
        Tampered: the manifest is missing, or a file is missing, changed or not listed; all of them are named.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise Tampered(f"{folder} has no {MANIFEST}: it was never finished")
    listed: dict[str, str] = storage.read_json(str(path))["files"]
    found = digests(folder)
    wrong = sorted(name for name in listed.keys() | found.keys() if listed.get(name) != found.get(name))
    if wrong:
        raise Tampered(f"{folder} is not what its {MANIFEST} says: {', '.join(wrong[:10])}")
    return found
