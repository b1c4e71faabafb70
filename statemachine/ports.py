"""What the controller needs of the world.

`None` means "looked, and it is not there"; failing to look raises `Unreachable`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from statemachine.contracts.kfp_run import KfpRun, PinnedVersion
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from statemachine.core.window import Object

Item = Mapping[str, Any]
SHARDS = 4  # of the index of due runs, so that a tick over thousands is not one hot partition


@dataclass(frozen=True)
class Key:
    """Partition and sort key of one item of the table."""

    pk: str
    sk: str


@dataclass(frozen=True)
class Clause:
    """One named condition: `attribute` equals `value`, or, with `value` None, the item is absent.

    The name goes into the `Conflict`, so that whoever reads it knows which rule did not hold.
    """

    name: str
    attribute: str = ""
    value: Any = None


@dataclass(frozen=True)
class Put:
    """Write `item` at `key` if `clause` holds. `item["writer"]` tells our own lost answer from another's write."""

    key: Key
    item: Item
    clause: Clause

    @property
    def attributes(self) -> Item:
        """All that is stored, keys included."""
        return {"pk": self.key.pk, "sk": self.key.sk, **self.item}


class Table(Protocol):
    """One table with conditional, transactional writes and a sparse index of what is due. No scan."""

    def get(self, key: Key) -> Item | None:
        """The item, read consistently."""

    def query(self, pk: str, prefix: str = "", *, newest_first: bool = False) -> Iterator[Item]:
        """The items of a partition whose sort key begins with `prefix`, in its order, read consistently."""

    def between(self, pk: str, first: str, last: str) -> Iterator[Item]:
        """The items of a partition whose sort keys are from `first` to `last`, in the order of their UTF-8 bytes."""

    def due(self, now: float) -> Iterator[str]:
        """The ids of runs that are due (eventually consistent: a late one comes with the next tick)."""

    def write(self, *puts: Put) -> None:
        """All of it or nothing.

        Raises:
            Conflict: a clause did not hold (its name), and what is there was not written by this very call.
            Impossible: it can never be written: too large, or not valid.
            Unreachable: we do not know whether it was written.
        """


@dataclass(frozen=True)
class PinnedVersions:
    """Published pipeline versions by stage name, and what is still missing, in words."""

    found: Mapping[str, PinnedVersion] = field(default_factory=dict)
    missing: str = ""


class Pipelines(Protocol):
    """The engine that runs stages: KFP, or SageMaker for a train stage that is kept there."""

    def get(self, kfp_id: str) -> KfpRun | None:
        """One run, by id: cheap."""

    def list(self, prefix: str, since: float = 0.0) -> tuple[KfpRun, ...]:
        """The runs whose name begins with `prefix`, made at `since` or later. Called before create and an end."""

    def create(self, order: StageRequest, pin: PinnedVersion) -> KfpRun:
        """Launch it.

        Raises:
            Unreachable: it is not known whether it runs.
            Impossible: the engine says that this order is not valid.
            Misconfigured: the engine does not let us, or does not know the pipeline; nothing runs.
        """

    def stop(self, kfp_id: str) -> None:
        """Ask it to end. A run that is over, or gone, is no error."""

    def pins(self, stages: Iterable[Stage]) -> PinnedVersions:
        """The pipeline versions that this deployment was built with."""


class Files(Protocol):
    """Objects in S3, by URI."""

    def read(self, uri: str, limit: int) -> bytes | None:
        """At most `limit` + 1 bytes of it. Raises `Denied` where we may not read."""

    def write(self, uri: str, body: bytes) -> None:
        """Write it whole. Raises `Misconfigured` where we may not."""

    def list(self, bucket: str, prefix: str, after: str = "") -> Iterator[Object]:
        """The present objects under a prefix whose keys come after `after`, in the order of their UTF-8 bytes."""


class Hints(Protocol):
    """ "Look at run R": losing, repeating or reordering these changes nothing but the time it takes."""

    def look_at(self, run_ids: Iterable[str]) -> None:
        """Send a hint for each."""
