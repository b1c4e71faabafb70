"""S3 in memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from statemachine.contracts.errors import Denied, Unreachable
from statemachine.core.window import Object, later


@dataclass
class MemoryFiles:
    """`Files` in a dict; `listed` are the objects of the data bucket."""

    bodies: dict[str, bytes] = field(default_factory=dict)
    listed: list[Object] = field(default_factory=list)
    down: bool = False
    denied: set[str] = field(default_factory=set)
    reads: int = 0
    read_reports: list[str] = field(default_factory=list)

    def read(self, uri: str, limit: int) -> bytes | None:
        """The file, or `None`."""
        self._up()
        self.reads += 1
        if uri in self.denied:
            raise Denied(f"reading {uri}: AccessDenied")
        body = self.bodies.get(uri)
        if body is not None and uri.endswith("/report.json"):
            self.read_reports.append(uri)
        return body[: limit + 1] if body is not None else None

    def write(self, uri: str, body: bytes) -> None:
        """Write it."""
        self._up()
        self.bodies[uri] = body

    def list(self, bucket: str, prefix: str, after: str = "") -> Iterator[Object]:
        """The present objects under a prefix in the order of their keys: of each key the newest write.

        As ListObjectsV2 answers: UTF-8 binary order, no version ids, no sequencers, whole seconds.
        """
        self._up()
        present: dict[str, Object] = {}
        for obj in self.listed:
            known = present.get(obj.key)
            if obj.bucket == bucket and obj.key.startswith(prefix) and (not known or later(obj, known)):
                present[obj.key] = obj
        for key in sorted(present, key=str.encode):
            if key.encode() > after.encode():
                obj = present[key]
                yield replace(obj, version_id="", sequencer="", arrived_at=float(int(obj.arrived_at)))

    def _up(self) -> None:
        if self.down:
            raise Unreachable("S3 does not answer")
