"""The online store as one payment uses it: read the state of its entities, then append it to all of them at once."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import libvalkey

from training.graph.days import DAY
from training.live.connection import StoreConnection, Unavailable
from training.live.definition import LATE, TAG, LiveDefinition
from training.live.keys import Names
from training.live.record import Damaged, EntityState, loads
from training.live.scripts import APPEND
from training.live.settings import LiveSettings

SHA1 = hashlib.sha1(APPEND.encode(), usedforsecurity=False).hexdigest()  # how Valkey names a script


@dataclass(frozen=True)
class Payment:
    """What the store is told of a payment: by relation the `entities`' hashes; `entry` as the definition has it."""

    request_id: str
    time: int
    cents: int
    entities: Mapping[str, bytes]

    @property
    def tag(self) -> bytes:
        """What its entries are recognised by; never that of an entry of the data set, which is zeros."""
        return hashlib.blake2b(self.request_id.encode(), digest_size=TAG).digest()


@dataclass(frozen=True)
class StateRead:
    """What was read for a payment: the state of each relation's entity, and whether the data set was ever brought in.

    `answer` is the one that its request id was given before, if it was.
    """

    states: Mapping[str, EntityState]
    filled: bool = True
    answer: bytes | None = None


class OnlineStore:
    """The state of one definition, over one connection."""

    def __init__(self, connection: StoreConnection, names: Names, definition: LiveDefinition, settings: LiveSettings):
        self._connection, self._names, self._definition, self._settings = connection, names, definition, settings

    def read(self, payment: Payment, with_id: bool, until: float) -> StateRead:
        """The state of the payment's entities, in one round trip.

        Raises:
            Unavailable: not in time, or not at all.
        """
        keys = [self._names.filled, *self._entities(payment)]
        keys += [self._names.answer(payment.request_id)] if with_id else []
        (found,) = self._connection.call(until, [["MGET", *keys]])
        if isinstance(found, Exception):
            raise self._connection.refused(found)
        filled, values = found[0], found[1 : 1 + len(payment.entities)]
        answer = found[-1] if with_id else None
        return StateRead(self._states(payment, values), filled is not None, answer)

    def append(
        self,
        payment: Payment,
        entry: bytes,
        seen: StateRead,
        until: float,
        *,
        answer: bytes = b"",
        log: tuple[str, Mapping[str, str]] | None = None,
        force: bool = False,
    ) -> StateRead | None:
        """Count a payment, keep its `answer` (b"": no request id) and write `log` (stream and fields), in one round
        trip.

        Returns None if that is done, else what has to be read instead: an earlier answer to this request id, or the
        state with strictly earlier payments that came in between (not if `force`).

        Raises:
            Unavailable: not in time, or refused. It may have been counted; a retry with this id is not counted again.
        """
        stream, fields = log or (self._names.definitions, {})
        keys = [self._names.answer(payment.request_id), stream, *self._entities(payment)]
        kept = self._settings
        arguments: list[Any] = [answer, int(kept.answer_seconds) if answer else 0, int(kept.retention_days * DAY)]
        arguments += [int(force), self._definition.k, self._definition.most, LATE, payment.time, payment.cents]
        arguments += [payment.tag, entry, int(kept.log_entries)]
        arguments += [seen.states[side].seen(payment.time) for side in payment.entities]
        arguments += [part for field in fields.items() for part in field]
        told = self._run(keys, arguments, until)
        if told[0] == b"answered":
            return StateRead({}, answer=told[1])
        if told[0] == b"stale":
            return StateRead(self._states(payment, told[1:]), seen.filled)
        return None

    def _run(self, keys: Sequence[str], arguments: Sequence[Any], until: float) -> list[Any]:
        tail = [len(keys), *keys, *arguments]
        (told,) = self._connection.call(until, [["EVALSHA", SHA1, *tail]])
        if isinstance(told, libvalkey.ReplyError) and str(told).startswith("NOSCRIPT"):  # it was restarted
            (told,) = self._connection.call(until, [["EVAL", APPEND, *tail]])
        if isinstance(told, Exception):
            raise self._connection.refused(told)
        return list(told)

    def _entities(self, payment: Payment) -> list[str]:
        return [self._names.entity(side, hashed) for side, hashed in payment.entities.items()]

    def _states(self, payment: Payment, values: Sequence[bytes | None]) -> dict[str, EntityState]:
        try:
            found = zip(payment.entities, values, strict=True)
            return {side: loads(value or None, self._definition) for side, value in found}
        except Damaged:
            raise Unavailable("damaged") from None
