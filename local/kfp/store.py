"""Stores JSON documents by kind and id in one SQLite file, with an index for lists."""

import json
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Document = dict[str, Any]

# `scope` is what a list is limited to: an experiment, a pipeline (for its versions) or a namespace (for these two).
SCOPES = {"run": "experiment_id", "recurring_run": "experiment_id", "pipeline_version": "pipeline_id"}
CASES = " ".join(f"WHEN '{kind}' THEN json_extract(body, '$.{key}')" for kind, key in SCOPES.items())
COLUMNS = {
    "scope": f"coalesce(CASE kind {CASES} ELSE json_extract(body, '$.namespace') END, '')",
    "created": "coalesce(json_extract(body, '$.created_at'), '')",
    "name": "coalesce(json_extract(body, '$.display_name'), '')",
}
SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL,
    UNIQUE (kind, id)
)
"""
# A page, and a lookup by name, read these columns and the matching rows, never every run's JSON.
INDEXES = (
    "CREATE INDEX IF NOT EXISTS listing ON documents (kind, scope, created, id, name)",
    "CREATE INDEX IF NOT EXISTS everything ON documents (kind, created, id, name)",
)


class DocumentStore:
    """The documents. Each call is one transaction; `lock` combines several."""

    def __init__(self, path: Path) -> None:
        self.lock = threading.RLock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")  # survives the end of this process, not of the machine
        self._db.execute(SCHEMA)
        known = {row[1] for row in self._db.execute("PRAGMA table_info(documents)")}
        for name, value in COLUMNS.items():
            if name not in known:  # a new file, or one of an earlier version
                self._db.execute(f"ALTER TABLE documents ADD COLUMN {name} TEXT NOT NULL DEFAULT ''")
                self._db.execute(f"UPDATE documents SET {name} = {value}")  # noqa: S608 — names and values are our own COLUMNS
        for index in INDEXES:
            self._db.execute(index)

    def put(self, kind: str, key: str, body: Document) -> None:
        """Insert or replace a document."""
        scope = body.get(SCOPES.get(kind, "namespace")) or ""
        row = (kind, key, json.dumps(body), scope, body.get("created_at", ""), body.get("display_name", ""))
        with self.lock:
            self._db.execute(
                "INSERT INTO documents (kind, id, body, scope, created, name) VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body, name = excluded.name",
                row,
            )

    def get(self, kind: str, key: str) -> Document | None:
        """Return one document, or None."""
        with self.lock:
            row = self._db.execute("SELECT body FROM documents WHERE kind = ? AND id = ?", (kind, key)).fetchone()
        return json.loads(row[0]) if row else None

    def all(self, kind: str) -> list[Document]:
        """Return all documents of a kind, oldest first."""
        return self.find(kind, "1", ())

    def find(self, kind: str, where: str, values: Sequence[Any], rest: str = "ORDER BY number") -> list[Document]:
        """Return the documents of a kind that match an SQL expression. The SQL is the caller's own, never a
        request's.
        """
        sql = f"SELECT body FROM documents WHERE kind = ? AND ({where}) {rest}"  # noqa: S608 — the SQL is the caller's own, never a request's
        with self.lock:
            rows = self._db.execute(sql, (kind, *values)).fetchall()
        return [json.loads(row[0]) for row in rows]

    def count(self, kind: str, where: str, values: Sequence[Any]) -> int:
        """Return the number of matching documents."""
        sql = f"SELECT count(*) FROM documents WHERE kind = ? AND ({where})"  # noqa: S608 — the SQL is the caller's own, never a request's
        with self.lock:
            (found,) = self._db.execute(sql, (kind, *values)).fetchone()
        return int(found)

    def plan(self, kind: str, where: str, values: Sequence[Any], rest: str = "") -> str:
        """Return SQLite's query plan, for a test that no list scans the table."""
        sql = f"EXPLAIN QUERY PLAN SELECT body FROM documents WHERE kind = ? AND ({where}) {rest}"  # noqa: S608 — the SQL is the caller's own, never a request's
        with self.lock:
            return "; ".join(row[3] for row in self._db.execute(sql, (kind, *values)))

    def delete(self, kind: str, key: str) -> None:
        """Delete a document, if it exists."""
        with self.lock:
            self._db.execute("DELETE FROM documents WHERE kind = ? AND id = ?", (kind, key))

    def close(self) -> None:
        """Close the file."""
        with self.lock:
            self._db.close()
