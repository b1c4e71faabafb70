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

    @property
    def fingerprint(self) -> str:
        """8 hex digits that stand for the secret: records that were named with another one are others."""
        return hashlib.blake2b(b"names", digest_size=4, key=self._key).hexdigest()

    def of(self, side: str, key: int) -> bytes:
        """The 8 bytes that stand for the entity with the 64-bit `key` in the relation `side`."""
        return hashlib.blake2b(struct.pack("<q", key) + side.encode(), digest_size=8, key=self._key).digest()


@dataclass(frozen=True)
class Names:
    """Key names of one model, one feature definition (its digest), and one secret (its fingerprint)."""

    model: str
    definition: str = ""
    fingerprint: str = ""

    @classmethod
    def of(cls, model: str, definition: str, secret: str) -> "Names":
        """The names for entities that are hashed with this secret."""
        return cls(model, definition, EntityHash(secret).fingerprint)

    def definition_of(self, name: str) -> str:
        """The definition's digest in the name of a record; "" if it was named with another secret."""
        digest, _, fingerprint = name.split(":")[2].partition(".")
        return digest if fingerprint == self.fingerprint else ""

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
    def fence(self) -> str:
        """The fill that began last: what another one still writes is refused."""
        return f"{self.state}fence"

    @property
    def reach(self) -> str:
        """Up to which time records were brought, by the fill that got furthest."""
        return f"{self.state}reach"

    @property
    def progress(self) -> str:
        """Up to which entity that fill has come."""
        return f"{self.state}progress"

    @property
    def state(self) -> str:
        """What the names of the definition's own state begin with."""
        return f"{self.root}:{self.definition}.{self.fingerprint}:"

    def entity(self, side: str, hashed: bytes) -> str:
        """The record of one entity."""
        return f"{self.state}{side}:{hashed.hex()}"

    @property
    def entities(self) -> str:
        """The pattern of all records, for SCAN: the hash of an entity follows the last colon, its relation the one
        before.
        """
        return f"{self.state}*:*"

    def answer(self, request_id: str) -> str:
        """The answer that a request id was given."""
        return f"{self.root}:answer:{hashlib.blake2b(request_id.encode(), digest_size=16).hexdigest()}"


def as_number(hashed: bytes) -> int:
    """An entity's hash as entries of history hold it."""
    return int.from_bytes(hashed, "big")
