"""One object of a run: where it is, what it is called, and when it came."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """Where one object is and what it is called; `identity` is a file name that only equal contents share.

    `order` says when it was delivered: of two deliveries of one transaction that of the greater order counts.
    """

    uri: str
    identity: str
    name: str
    version_id: str | None = None
    etag: str = ""
    size: int = 0
    order: tuple[float, ...] = ()
