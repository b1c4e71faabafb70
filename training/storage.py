"""Reads and writes files by URI: `s3://bucket/key` or a local path.

A URI that begins with `s3://` goes through boto3, which follows the usual AWS environment (`AWS_ENDPOINT_URL`, …);
any other URI is a local path. A missing file raises `FileNotFoundError`. A failed request raises the client's own
error, so that an outage is never taken for a missing file.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, IncompleteReadError, ReadTimeoutError, ResponseStreamingError

ABSENT_CODES = frozenset({"404", "NoSuchKey", "NoSuchBucket", "NoSuchVersion", "NotFound"})
INTERMEDIATE = "fraudloop=intermediate"  # the tag by which the artifacts bucket's lifecycle rule expires objects
PIECE = 1 << 20
AT_ONCE = 8  # files of a folder that are copied at the same time
PARTS = 10  # of one large file: boto3's own number
READS = 3  # attempts for one object whose body is cut off

Answer = TypeVar("Answer")


def join(uri: str, *parts: str) -> str:
    """Joins `uri` and `parts` with single slashes."""
    return "/".join([uri.rstrip("/"), *(part.strip("/") for part in parts)])


def read_bytes(uri: str, version_id: str | None = None) -> bytes:
    """Returns the bytes of one file or object."""
    if not is_s3(uri):
        return Path(uri).read_bytes()
    bucket, key = split(uri)
    with _absent_is_not_found(uri):
        return bytes(_s3().get_object(Bucket=bucket, Key=key, **_version(version_id))["Body"].read())


def write_bytes(uri: str, body: bytes, *, intermediate: bool = False) -> None:
    """Writes one file or object; an `intermediate` object is tagged so that S3 may expire it."""
    if not is_s3(uri):
        Path(uri).parent.mkdir(parents=True, exist_ok=True)
        Path(uri).write_bytes(body)
        return
    bucket, key = split(uri)
    _s3().put_object(Bucket=bucket, Key=key, Body=body, **_tagging(intermediate))


def read_json(uri: str) -> Any:
    """Returns the JSON value in one file or object."""
    return json.loads(read_bytes(uri))


def write_json(uri: str, value: Any) -> None:
    """Writes a value as JSON with sorted keys, so that equal values give equal bytes. Raises ValueError for NaN."""
    write_bytes(uri, dump_json(value))


def dump_json(value: Any) -> bytes:
    """Returns the bytes that `write_json` writes."""
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def exists(uri: str) -> bool:
    """Returns whether the file or object exists. A folder is not a file."""
    if not is_s3(uri):
        return Path(uri).is_file()
    bucket, key = split(uri)
    try:
        with _absent_is_not_found(uri):
            _s3().head_object(Bucket=bucket, Key=key)
    except FileNotFoundError:
        return False
    return True


def listed(s3: Any, bucket: str, key: str) -> bool:
    """Returns whether a bucket's listing has the key: a client (boto3's) that may not read the object may ask this."""
    found = s3.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1).get("Contents", [])
    return [one["Key"] for one in found] == [key]


def etag(uri: str, version_id: str | None = None) -> str:
    """Returns the ETag of one S3 object, without quotes."""
    bucket, key = split(uri)
    with _absent_is_not_found(uri):
        return str(_s3().head_object(Bucket=bucket, Key=key, **_version(version_id))["ETag"]).strip('"')


def list_uris(folder: str) -> list[str]:
    """Returns every file in a folder and its subfolders, sorted; empty if there is none."""
    if not is_s3(folder):
        return [str(path) for path in walk(folder)]
    bucket, prefix = split(folder)
    pages = _s3().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix.rstrip("/") + "/")
    return sorted(f"s3://{bucket}/{entry['Key']}" for page in pages for entry in page.get("Contents", []))


def download(uri: str, path: str | Path, version_id: str | None = None) -> Path:
    """Copies one file or object to a local file, which appears only when it is complete."""
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
    """The result of `fetch`: the local file, and the identity and sha256 of the bytes that were read."""

    path: Path
    etag: str
    version_id: str
    sha256: str


def fetch(uri: str, path: str | Path, version_id: str | None = None, etag: str = "") -> Fetched:
    """Copies one S3 object to a local file by one GetObject; `version_id` or `etag` pin its content.

    Raises:
        ClientError: S3 refuses; 412 if the object has another etag by now.
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
    """Reads at most one byte of one S3 object. Raises `ClientError` if it is missing or reading is denied."""
    bucket, key = split(uri)
    _s3().get_object(Bucket=bucket, Key=key, Range="bytes=0-0", **_version(version_id))["Body"].close()


def upload(path: str | Path, uri: str, *, intermediate: bool = False) -> None:
    """Copies a local file to a URI; an `intermediate` object is tagged so that S3 may expire it."""
    if is_s3(uri):
        bucket, key = split(uri)
        _s3().upload_file(str(path), bucket, key, ExtraArgs=_tagging(intermediate))
        return
    download(str(path), uri)


def download_folder(uri: str, path: str | Path) -> Path:
    """Copies a folder with its subfolders to a local one.

    Raises:
        FileNotFoundError: the folder is empty or missing.
        ValueError: the name of an object would lead out of the folder, or to the file of another object.
    """
    sources = list_uris(uri)
    if not sources:
        raise FileNotFoundError(f"there is nothing under {uri}")
    names = {source: _inside(source.removeprefix(uri.rstrip("/") + "/"), source) for source in sources}
    at_once(download, [(source, Path(path) / name) for source, name in names.items()])
    return Path(path)


def _inside(name: str, uri: str) -> str:
    if {"", ".", ".."} & set(name.split("/")) or "\0" in name:
        raise ValueError(f"{uri} is no name for a file in a folder: it has an empty, '.' or '..' segment")
    return name


def upload_folder(path: str | Path, uri: str, *, last: str = "MANIFEST.json", intermediate: bool = False) -> None:
    """Copies a local folder with its subfolders to a URI. `last` is written last, so it marks a complete folder.

    The JSON files of an `intermediate` folder are not tagged, because they describe the files that expire.
    """
    root, marker = Path(path), Path(path) / last

    def copy(file: Path) -> None:
        bulk = intermediate and file.suffix != ".json"
        upload(file, join(uri, file.relative_to(root).as_posix()), intermediate=bulk)

    if is_s3(uri):
        _s3()  # boto3 makes one client at a time; then all threads use it
    at_once(copy, [(file,) for file in walk(root) if file != marker])
    if marker.is_file():
        copy(marker)


def at_once(work: Callable[..., Answer], calls: Iterable[tuple[Any, ...]]) -> list[Answer]:
    """Makes the calls of `work`, several at a time, and returns their answers in order.

    After a call has failed no other is begun; those under way end, and then its error is raised.
    """
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        futures = [pool.submit(work, *call) for call in calls]
        ended, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in ended:
            future.result()
        return [future.result() for future in futures]
    finally:
        pool.shutdown(cancel_futures=True)


def delete(uri: str) -> None:
    """Deletes one file or object. One that is not there is no error."""
    if not is_s3(uri):
        Path(uri).unlink(missing_ok=True)
        return
    bucket, key = split(uri)
    _s3().delete_object(Bucket=bucket, Key=key)


def walk(folder: str | Path) -> Iterator[Path]:
    """Yields every file in a local folder and its subfolders, sorted by path."""
    yield from sorted(path for path in Path(folder).rglob("*") if path.is_file())


def local(uri: str, scratch: str | Path) -> Path:
    """Returns a local folder: `uri` itself if it is local, else a copy of it in `scratch`."""
    return download_folder(uri, scratch) if is_s3(uri) else Path(uri)


def is_s3(uri: str) -> bool:
    """Returns whether `uri` names an S3 object or prefix."""
    return uri.startswith("s3://")


def split(uri: str) -> tuple[str, str]:
    """Returns the bucket and the key of `s3://bucket/key`."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def _tagging(intermediate: bool) -> dict[str, str]:
    return {"Tagging": INTERMEDIATE} if intermediate else {}


def _version(version_id: str | None) -> dict[str, str]:
    return {"VersionId": version_id} if version_id and version_id != "null" else {}


def _s3() -> Any:
    # Tests and the local system change the environment between calls, so the client is cached by environment.
    names = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_DEFAULT_REGION", "AWS_PROFILE")
    return _client(tuple(os.environ.get(name) for name in names))


@lru_cache(maxsize=4)
def _client(_environment: tuple[str | None, ...]) -> Any:
    patience = Config(
        connect_timeout=10,
        read_timeout=60,
        retries={"max_attempts": 5, "mode": "standard"},
        max_pool_connections=AT_ONCE * PARTS,
    )
    return boto3.client("s3", config=patience)


@contextmanager
def _absent_is_not_found(uri: str) -> Iterator[None]:
    """Raises FileNotFoundError in place of S3's error codes for a missing object, version or bucket."""
    try:
        yield
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in ABSENT_CODES:
            raise FileNotFoundError(f"{uri} is not there") from error
        raise
