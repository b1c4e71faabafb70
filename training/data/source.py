"""One object of a run: where it is, what it is called, and when it came."""

from dataclasses import dataclass

from statemachine.contracts.object_kind import ObjectKind


@dataclass(frozen=True)
class Source:
    """Where one object is and what it is called; `identity` is a file name that only equal contents share.

    `order` says when it was delivered: of two deliveries of one transaction that of the greater order counts. `kind` is
    what it holds, `arrived_at` when it came (seconds since the epoch; 0: today).
    """

    uri: str
    identity: str
    name: str
    version_id: str | None = None
    etag: str = ""
    size: int = 0
    order: tuple[float, ...] = ()
    kind: ObjectKind = ObjectKind.DATA
    arrived_at: int = 0
