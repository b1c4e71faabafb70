"""Keeps the local cloud's state on disk, by one SQLite transaction for each request that changed something.

moto keeps everything in memory. `CloudState` records what a request changed before the response is sent: versions of
objects, items of tables, messages of queues. So after `kill -9` every acknowledged change is there, and buckets, table
and queues are consistent. Objects' bytes are in files beside the database instead of in memory.

Not recorded: multipart uploads in progress, visibility timeouts, and the stream's records. A message in flight is
delivered again, and the stream continues with a higher sequence number. Files are not fsynced: a power cut can lose the
last transactions, and can leave an object's file incomplete.
"""

import json
import pickle
import shutil
import sqlite3
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import moto.s3.models
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.table import Table
from moto.s3.models import FakeBucket, FakeDeleteMarker, FakeKey, s3_backends
from moto.s3.utils import _VersionedKeyStore
from moto.sqs.models import sqs_backends

from local.aws.resources import ACCOUNT, REGION

SCHEMA = """
CREATE TABLE IF NOT EXISTS buckets (name TEXT PRIMARY KEY, versioning TEXT);
CREATE TABLE IF NOT EXISTS versions (
    bucket TEXT, key TEXT, number INTEGER, file TEXT, record BLOB, PRIMARY KEY (bucket, key, number));
CREATE TABLE IF NOT EXISTS items (owner TEXT, key TEXT, body TEXT, PRIMARY KEY (owner, key));
CREATE TABLE IF NOT EXISTS streams (owner TEXT PRIMARY KEY, label TEXT, next TEXT);
CREATE TABLE IF NOT EXISTS messages (queue TEXT, id TEXT, record BLOB, PRIMARY KEY (queue, id));
"""
IN_MEMORY = ("_value_buffer", "lock", "multipart")  # attributes of a FakeKey


class Body:
    """An object's bytes in a file, with the methods of the temporary file that moto uses."""

    def __init__(self, path: Path) -> None:
        self.path, self._at = path, 0

    def seek(self, at: int) -> None:
        """Set the position of the next read."""
        self._at = at

    def read(self, size: int = -1) -> bytes:
        """Return `size` bytes, or all that are left."""
        with self.path.open("rb") as file:
            file.seek(self._at)
            block = file.read(size)
        self._at += len(block)
        return block

    def close(self) -> None:
        """Do nothing: no file is open, and the file is deleted with its row."""


class TouchedKeys(_VersionedKeyStore):
    """A bucket's versions by key. `touched` holds the keys that changed since it was cleared."""

    def __init__(self) -> None:
        super().__init__()
        self.touched: set[str] = set()

    def __setitem__(self, key: str, value: Any) -> None:
        self.touched.add(key)
        super().__setitem__(key, value)

    def setlist(self, key: Any, list_: Any) -> None:
        """Set all versions of a key."""
        self.touched.add(key)
        super().setlist(key, list_)

    def pop(self, key: str) -> None:  # type: ignore[override]
        """Remove a key."""
        self.touched.add(key)
        super().pop(key)


class CloudState:
    """The state folder of a local cloud. Call `load` once, and `record` after each request, under the cloud's lock."""

    def __init__(self, folder: Path) -> None:
        setattr(moto.s3.models, "_VersionedKeyStore", TouchedKeys)  # noqa: B010 (what FakeBucket makes for its keys)
        self._bodies = folder / "objects"
        self._bodies.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(folder / "cloud.sqlite", check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")  # survives the end of this process, not a power cut
        self._db.executescript(SCHEMA)
        self._queued: dict[str, set[str]] = {}
        self._versioning: dict[str, str | None] = {}
        self._next: dict[str, int] = {}

    def load(self) -> None:
        """Load the state into moto, whose table and queues exist and are empty."""
        self._load_buckets()
        self._load_tables()
        self._load_messages()
        known = {file for (file,) in self._db.execute("SELECT file FROM versions")}
        for left in self._bodies.iterdir():  # written for a request that was never answered
            if left.name not in known:
                left.unlink()
        self.record()

    def record(self) -> None:
        """Record what has changed since the last call."""
        obsolete: list[str] = []
        self._db.execute("BEGIN")
        self._record_buckets(obsolete)
        self._record_tables()
        self._record_messages()
        self._db.execute("COMMIT")
        for file in obsolete:  # after the commit: a row must never name a deleted file
            (self._bodies / file).unlink(missing_ok=True)

    # -- objects ----------------------------------------------------------------------------------------------------

    def _record_buckets(self, obsolete: list[str]) -> None:
        for name, bucket in _buckets().items():
            if name not in self._versioning or self._versioning[name] != bucket.versioning_status:
                self._db.execute("REPLACE INTO buckets VALUES (?, ?)", (name, bucket.versioning_status))
                self._versioning[name] = bucket.versioning_status
            for key in bucket.keys.touched:  # type: ignore[attr-defined]
                self._record_versions(name, key, bucket.keys.getlist(key, []), obsolete)
            bucket.keys.touched.clear()  # type: ignore[attr-defined]

    def _record_versions(self, bucket: str, key: str, versions: list[Any], obsolete: list[str]) -> None:
        where = (bucket, key)
        before = {file for (file,) in self._db.execute("SELECT file FROM versions WHERE bucket = ? AND key = ?", where)}
        self._db.execute("DELETE FROM versions WHERE bucket = ? AND key = ?", where)
        files = [self._file(version) for version in versions]
        rows = [(bucket, key, n, *pair) for n, pair in enumerate(zip(files, map(_record, versions), strict=True))]
        self._db.executemany("INSERT INTO versions VALUES (?, ?, ?, ?, ?)", rows)
        obsolete += [file for file in before - set(files) if file]

    def _file(self, version: Any) -> str:
        """Move the version's bytes to a file if needed and return its name; "" for a delete marker."""
        if isinstance(version, FakeDeleteMarker):
            return ""
        if not isinstance(version._value_buffer, Body):
            path = self._bodies / uuid.uuid4().hex
            version._value_buffer.seek(0)
            with path.open("wb") as file:
                shutil.copyfileobj(version._value_buffer, file)
            version._value_buffer.close()
            version._value_buffer = Body(path)
        return str(version._value_buffer.path.name)

    def _load_buckets(self) -> None:
        for name, versioning in self._db.execute("SELECT name, versioning FROM buckets").fetchall():
            if name not in _buckets():
                s3_backends[ACCOUNT]["aws"].create_bucket(name, REGION)
            _buckets()[name].versioning_status = versioning
        rows = self._db.execute("SELECT bucket, key, file, record FROM versions ORDER BY bucket, key, number")
        for bucket, key, file, record in rows.fetchall():
            keys = _buckets()[bucket].keys
            keys[key] = _restored(pickle.loads(record), self._bodies / file, keys.get(key))  # noqa: S301 — written by this class, in a folder of the user's own
        for found in _buckets().values():
            found.keys.touched.clear()  # type: ignore[attr-defined]

    # -- items ------------------------------------------------------------------------------------------------------

    def _record_tables(self) -> None:
        for name, table in dynamodb_backends[ACCOUNT][REGION].tables.items():
            shard = table.stream_shard
            if shard is None:
                continue
            new = self._next.get(name, shard.starting_sequence_number) - shard.starting_sequence_number
            for change in shard.items[max(0, new) :]:
                self._record_item(name, change.record["dynamodb"])
            following = shard.starting_sequence_number + len(shard.items)
            if self._next.get(name) != following:
                self._next[name] = following
                row = (name, table.latest_stream_label, str(following))
                self._db.execute("REPLACE INTO streams VALUES (?, ?, ?)", row)

    def _record_item(self, table: str, change: Mapping[str, Any]) -> None:
        where = (table, json.dumps(change["Keys"], sort_keys=True))
        if "NewImage" in change:
            self._db.execute("REPLACE INTO items VALUES (?, ?, ?)", (*where, json.dumps(change["NewImage"])))
        else:
            self._db.execute("DELETE FROM items WHERE owner = ? AND key = ?", where)

    def _load_tables(self) -> None:
        for name, label, following in self._db.execute("SELECT owner, label, next FROM streams").fetchall():
            table: Table = dynamodb_backends[ACCOUNT][REGION].tables[name]
            shard = table.stream_shard
            assert shard is not None
            for (body,) in self._db.execute("SELECT body FROM items WHERE owner = ?", (name,)):
                table.put_item(json.loads(body))
            shard.items.clear()
            shard.starting_sequence_number = self._next[name] = int(following)
            table.latest_stream_label = label  # the stream's ARN, which its readers have stored

    # -- messages ---------------------------------------------------------------------------------------------------

    def _record_messages(self) -> None:
        for name, queue in sqs_backends[ACCOUNT][REGION].queues.items():
            now = {message.id: message for message in queue._messages}
            known = self._queued.setdefault(name, set())
            if known == now.keys():
                continue
            gone = [(name, message) for message in known - now.keys()]
            self._db.executemany("DELETE FROM messages WHERE queue = ? AND id = ?", gone)
            come = [(name, key, pickle.dumps(message)) for key, message in now.items() if key not in known]
            self._db.executemany("INSERT INTO messages VALUES (?, ?, ?)", come)
            self._queued[name] = set(now)

    def _load_messages(self) -> None:
        queues = sqs_backends[ACCOUNT][REGION].queues
        for name, record in self._db.execute("SELECT queue, record FROM messages ORDER BY rowid").fetchall():
            message = pickle.loads(record)  # noqa: S301 — written by this class, in a folder of the user's own
            queues[name]._messages.append(message)
            self._queued.setdefault(name, set()).add(message.id)


def _buckets() -> dict[str, FakeBucket]:
    return s3_backends[ACCOUNT]["aws"].buckets


def _record(version: Any) -> bytes:
    """Return a version without its bytes."""
    if isinstance(version, FakeDeleteMarker):
        return pickle.dumps(vars(version) | {"key": None})
    _ = version.etag  # moto computes it at the first access
    return pickle.dumps({name: value for name, value in vars(version).items() if name not in IN_MEMORY})


def _restored(fields: dict[str, Any], file: Path, before: Any) -> Any:
    """Return the version with these fields. A delete marker refers to the version `before` it."""
    made: Any = FakeDeleteMarker.__new__(FakeDeleteMarker) if "key" in fields else FakeKey.__new__(FakeKey)
    vars(made).update(fields)
    if isinstance(made, FakeDeleteMarker):
        made.key = before
    else:
        made.multipart, made.lock = None, threading.Lock()
        made._value_buffer = Body(file)
    return made
