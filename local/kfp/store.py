"""What the endpoint remembers: JSON documents by kind and id in one SQLite file, in the order they were created."""

import json
import sqlite3
import threading
from pathlib import Path
from typing import Any

Document = dict[str, Any]

SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL,
    UNIQUE (kind, id)
)
"""


class DocumentStore:
    """The documents; each call is one transaction, and `lock` makes several of them one."""

    def __init__(self, path: Path) -> None:
        self.lock = threading.RLock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")  # survives the death of this process, not of the machine
        self._db.execute(SCHEMA)

    def put(self, kind: str, key: str, body: Document) -> None:
        """Write a document, new or known."""
        text = json.dumps(body)
        with self.lock:
            self._db.execute(
                "INSERT INTO documents (kind, id, body) VALUES (?, ?, ?) "
                "ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body",
                (kind, key, text),
            )

    def get(self, kind: str, key: str) -> Document | None:
        """One document, or None if it is not there."""
        with self.lock:
            row = self._db.execute("SELECT body FROM documents WHERE kind = ? AND id = ?", (kind, key)).fetchone()
        return json.loads(row[0]) if row else None

    def all(self, kind: str) -> list[Document]:
        """All documents of a kind, the oldest first."""
        with self.lock:
            rows = self._db.execute("SELECT body FROM documents WHERE kind = ? ORDER BY number", (kind,)).fetchall()
        return [json.loads(row[0]) for row in rows]

    def delete(self, kind: str, key: str) -> None:
        """Forget a document, if it is there."""
        with self.lock:
            self._db.execute("DELETE FROM documents WHERE kind = ? AND id = ?", (kind, key))

    def close(self) -> None:
        """Close the file."""
        with self.lock:
            self._db.close()
