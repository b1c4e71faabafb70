"""One way to reach bytes, whether under `s3://bucket/key` or in a local folder.

A URI that begins with `s3://` goes through boto3, which follows the usual AWS environment (`AWS_ENDPOINT_URL`, …);
anything else is a local path. What is not there raises `FileNotFoundError`; failing to look raises whatever the
vendor raised, so "not there" is never confused with "could not look".
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError

ABSENT_CODES = frozenset({"404", "NoSuchKey", "NoSuchBucket", "NoSuchVersion", "NotFound"})
INTERMEDIATE = "fraudloop=intermediate"  # what the artifacts bucket's lifecycle rule may take; the rest stays
TAKEN_CODES = frozenset({"412", "PreconditionFailed", "409", "ConditionalRequestConflict"})
PIECE = 1 << 20
READS = 3  # of one object, if the connection breaks in the middle of its body


def join(uri: str, *parts: str) -> str:
    """`uri` and `parts` with single slashes between them."""
    return "/".join([uri.rstrip("/"), *(part.strip("/") for part in parts)])


def read_bytes(uri: str, version_id: str | None = None) -> bytes:
    """The bytes of one file or object."""
    if not is_s3(uri):
        return Path(uri).read_bytes()
    bucket, key = split(uri)
    with _absent_is_not_found(uri):
        return bytes(_s3().get_object(Bucket=bucket, Key=key, **_version(version_id))["Body"].read())


def write_bytes(uri: str, body: bytes, *, only_if_absent: bool = False, intermediate: bool = False) -> None:
    """Writes one file or object; an `intermediate` object is tagged as one that may expire.

    Raises:
        FileExistsError: `only_if_absent`, and somebody else wrote it first.
    """
    if not is_s3(uri):
        Path(uri).parent.mkdir(parents=True, exist_ok=True)
        with open(uri, "xb" if only_if_absent else "wb") as file:
            file.write(body)
        return
    bucket, key = split(uri)
    with _taken_is_exists(uri):
        absent = {"IfNoneMatch": "*"} if only_if_absent else {}
        _s3().put_object(Bucket=bucket, Key=key, Body=body, **absent, **_tagging(intermediate))


def read_json(uri: str) -> Any:
    """The JSON value in one file or object."""
    return json.loads(read_bytes(uri))


def write_json(uri: str, value: Any, *, only_if_absent: bool = False) -> None:
    """Writes a value as JSON with sorted keys, so that equal values are equal bytes; NaN is refused."""
    write_bytes(uri, dump_json(value), only_if_absent=only_if_absent)


def dump_json(value: Any) -> bytes:
    """A value as the bytes that `write_json` writes."""
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def exists(uri: str) -> bool:
    """Whether this very file or object is there; a folder is not a file."""
    if not is_s3(uri):
        return Path(uri).is_file()
    bucket, key = split(uri)
    try:
        with _absent_is_not_found(uri):
            _s3().head_object(Bucket=bucket, Key=key)
    except FileNotFoundError:
        return False
    return True


def etag(uri: str, version_id: str | None = None) -> str:
    """S3's digest of one object, without quotes."""
    bucket, key = split(uri)
    with _absent_is_not_found(uri):
        return str(_s3().head_object(Bucket=bucket, Key=key, **_version(version_id))["ETag"]).strip('"')


def list_uris(folder: str) -> list[str]:
    """Every file below a folder, sorted; empty if there is none."""
    if not is_s3(folder):
        return [str(path) for path in walk(folder)]
    bucket, prefix = split(folder)
    pages = _s3().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix.rstrip("/") + "/")
    return sorted(f"s3://{bucket}/{entry['Key']}" for page in pages for entry in page.get("Contents", []))


def download(uri: str, path: str | Path, version_id: str | None = None) -> Path:
    """One file or object as a local file, complete or not there at all."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}.part")
    if is_s3(uri):
        bucket, key = split(uri)
        with _absent_is_not_found(uri):
            _s3().download_file(bucket, key, str(partial), ExtraArgs=_version(version_id))
    else:
        shutil.copyfile(uri, partial)
    partial.replace(target)
    return target


@dataclass(frozen=True)
class Fetched:
    """One object's bytes as they were read, in the local file `path`; `sha256` is of these bytes."""

    path: Path
    etag: str
    version_id: str
    sha256: str


def fetch(uri: str, path: str | Path, version_id: str | None = None, etag: str = "") -> Fetched:
    """Exactly that version, or that content, of one S3 object as a local file, by one GetObject.

    Raises:
        ClientError: S3 says no, among others 412 if the object's etag is another by now.
    """
    bucket, key = split(uri)
    condition = _version(version_id) | ({"IfMatch": f'"{etag}"'} if etag else {})
    for _ in range(READS - 1):
        with suppress(IncompleteReadError, ReadTimeoutError, ResponseStreamingError):
            return _read(_s3().get_object(Bucket=bucket, Key=key, **condition), Path(path))
    return _read(_s3().get_object(Bucket=bucket, Key=key, **condition), Path(path))


def _read(answer: dict[str, Any], path: Path) -> Fetched:
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for piece in answer["Body"].iter_chunks(PIECE):
            digest.update(piece)
            file.write(piece)
    return Fetched(path, answer["ETag"].strip('"'), answer.get("VersionId") or "", digest.hexdigest())


def touch(uri: str, version_id: str | None = None) -> None:
    """Reads at most one byte of one S3 object: may we, and is it there? Raises `ClientError`."""
    bucket, key = split(uri)
    _s3().get_object(Bucket=bucket, Key=key, Range="bytes=0-0", **_version(version_id))["Body"].close()


def upload(path: str | Path, uri: str, *, intermediate: bool = False) -> None:
    """One local file as a file or object; an `intermediate` object is tagged as one that may expire."""
    if is_s3(uri):
        bucket, key = split(uri)
        _s3().upload_file(str(path), bucket, key, ExtraArgs=_tagging(intermediate))
        return
    download(str(path), uri)


def download_folder(uri: str, path: str | Path) -> Path:
    """A folder with all that lies below it.

    Raises:
        FileNotFoundError: nothing lies below `uri`.
        ValueError: a name below it would lead out of the folder, or to a file that another name has too.
    """
    sources = list_uris(uri)
    if not sources:
        raise FileNotFoundError(f"nothing lies under {uri}")
    names = {source: _inside(source.removeprefix(uri.rstrip("/") + "/"), source) for source in sources}
    for source, name in names.items():
        download(source, Path(path) / name)
    return Path(path)


def _inside(name: str, uri: str) -> str:
    if {"", ".", ".."} & set(name.split("/")) or "\0" in name:
        raise ValueError(f"{uri} is no name for a file in a folder: it has an empty, '.' or '..' segment")
    return name


def upload_folder(path: str | Path, uri: str, *, last: str = "MANIFEST.json", intermediate: bool = False) -> None:
    """A local folder with all that lies below it; `last` is written last, so whoever sees it sees all.

    Of an `intermediate` folder the JSON files stay: they say what the rest was.
    """
    root = Path(path)
    for file in sorted(walk(root), key=lambda file: file.name == last):
        bulk = intermediate and file.suffix != ".json"
        upload(file, join(uri, file.relative_to(root).as_posix()), intermediate=bulk)


def walk(folder: str | Path) -> Iterator[Path]:
    """Every file below a local folder, sorted by its path."""
    yield from sorted(path for path in Path(folder).rglob("*") if path.is_file())


def local(uri: str, scratch: str | Path) -> Path:
    """A folder to read from: `uri` itself if it is local, else a copy of it under `scratch`."""
    return download_folder(uri, scratch) if is_s3(uri) else Path(uri)


def is_s3(uri: str) -> bool:
    """Whether `uri` names an S3 object or prefix."""
    return uri.startswith("s3://")


def split(uri: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def _tagging(intermediate: bool) -> dict[str, str]:
    return {"Tagging": INTERMEDIATE} if intermediate else {}


def _version(version_id: str | None) -> dict[str, str]:
    return {"VersionId": version_id} if version_id and version_id != "null" else {}


def _s3() -> Any:
    # A client belongs to one environment; tests and the local system change it between calls.
    names = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_DEFAULT_REGION", "AWS_PROFILE")
    return _client(tuple(os.environ.get(name) for name in names))


@lru_cache(maxsize=4)
def _client(_environment: tuple[str | None, ...]) -> Any:
    patience = Config(connect_timeout=10, read_timeout=60, retries={"max_attempts": 5, "mode": "standard"})
    return boto3.client("s3", config=patience)


class _Translated:
    """Turns one family of S3's error codes into one built-in exception."""

    def __init__(self, uri: str, codes: frozenset[str], error: type[OSError], words: str) -> None:
        self.uri, self.codes, self.error, self.words = uri, codes, error, words

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        response = getattr(error, "response", None)
        if isinstance(response, dict) and response.get("Error", {}).get("Code") in self.codes:
            raise self.error(f"{self.uri} {self.words}") from error


def _absent_is_not_found(uri: str) -> _Translated:
    return _Translated(uri, ABSENT_CODES, FileNotFoundError, "is not there")


def _taken_is_exists(uri: str) -> _Translated:
    return _Translated(uri, TAKEN_CODES, FileExistsError, "is there already")
