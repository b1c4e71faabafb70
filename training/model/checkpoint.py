"""Where a training's checkpoints lie, so that a killed one goes on instead of starting again."""

from dataclasses import dataclass
from pathlib import Path

from training import storage


@dataclass(frozen=True)
class StoredCheckpoints:
    """One file or object a part, under a folder or `s3://` prefix."""

    folder: str

    def read(self, part: str) -> bytes | None:
        """The latest state, or None if this part has not come so far."""
        uri = self._uri(part)
        return storage.read_bytes(uri) if storage.exists(uri) else None

    def write(self, part: str, body: bytes) -> None:
        """Replaces the state whole: an object always is, a file by the rename."""
        uri = self._uri(part)
        if storage.is_s3(uri):
            storage.write_bytes(uri, body, intermediate=True)
            return
        storage.write_bytes(f"{uri}.part", body)
        Path(f"{uri}.part").replace(uri)

    def _uri(self, part: str) -> str:
        return storage.join(self.folder, f"{part}.pt")
