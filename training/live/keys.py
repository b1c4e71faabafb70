"""Names in the online store. An entity is named by a keyed hash of its key, so no card number can be read there.

All names of a model begin with `fraudloop:{model}:`. The braces are Valkey Cluster's hash tag: one model lies in one
slot, so that one script may append to all entities of a payment.
"""

import hashlib
import struct
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class EntityHash:
    """Hashes entity keys with a secret: blake2b, 8 bytes, the relation's name in its message."""

    secret: str

    @cached_property
    def _key(self) -> bytes:
        return hashlib.blake2b(self.secret.encode()).digest()  # 64 bytes, blake2b's longest key

    def of(self, side: str, key: int) -> bytes:
        """The 8 bytes that stand for the entity with the 64-bit `key` in the relation `side`."""
        return hashlib.blake2b(struct.pack("<q", key) + side.encode(), digest_size=8, key=self._key).digest()


@dataclass(frozen=True)
class Names:
    """Key names of one model and one feature definition (its digest)."""

    model: str
    definition: str

    @property
    def root(self) -> str:
        """What all names of the model begin with."""
        return f"fraudloop:{{{self.model}}}"

    @property
    def definitions(self) -> str:
        """A hash: what is known of each definition that has state."""
        return f"{self.root}:definitions"

    @property
    def filled(self) -> str:
        """Up to which time the data set was brought in, in seconds; absent before the first fill."""
        return f"{self.state}filled"

    @property
    def state(self) -> str:
        """What the names of the definition's own state begin with."""
        return f"{self.root}:{self.definition}:"

    def entity(self, side: str, hashed: bytes) -> str:
        """The record of one entity."""
        return f"{self.state}{side}:{hashed.hex()}"

    def entities(self, side: str) -> str:
        """The pattern of all records of a relation's entities, for SCAN."""
        return f"{self.state}{side}:*"

    def answer(self, request_id: str) -> str:
        """The answer that a request id was given."""
        return f"{self.root}:answer:{hashlib.blake2b(request_id.encode(), digest_size=16).hexdigest()}"


def as_number(hashed: bytes) -> int:
    """An entity's hash as entries of history hold it."""
    return int.from_bytes(hashed, "big")
