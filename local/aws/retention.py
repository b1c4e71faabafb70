"""Keeps moto's tables quick: it copies a whole table for each write of a transaction, and forgets no stream record."""

import copy
from typing import Any

from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.table import StreamShard, Table
from moto.dynamodbstreams.models import dynamodbstreams_backends

KEPT = 1000  # records a table and iterators; the dispatcher reads twice a second


def copy_tables_cheaply() -> None:
    """Let the copy of a table, made to undo a failed transaction, share its items and its stream's records.

    Stream records never change, and a Put replaces an item; nobody here updates one in place (`UpdateItem`). moto
    makes a copy for each write of the transaction before the first one: what equals the last copy is not made again.
    """
    last: list[tuple[Table, int, Table]] = []

    def sharing(table: Table, memo: dict[int, Any]) -> Table:
        written = _written(table)
        if last and last[0][:2] == (table, written):
            return last[0][2]
        copied = memo[id(table)] = copy.copy(table)
        copied.items = copy.copy(table.items)
        copied.items.update({key: copy.copy(part) for key, part in table.items.items() if isinstance(part, dict)})
        copied.stream_shard = copy.deepcopy(table.stream_shard, memo)
        last[:] = [(table, written, copied)] if written >= 0 else []
        return copied

    def sharing_records(shard: StreamShard, memo: dict[int, Any]) -> StreamShard:
        copied = memo[id(shard)] = copy.copy(shard)
        copied.table = copy.deepcopy(shard.table, memo)
        copied.items = list(shard.items)
        return copied

    Table.__deepcopy__ = sharing  # type: ignore[attr-defined]
    StreamShard.__deepcopy__ = sharing_records  # type: ignore[attr-defined]


def _written(table: Table) -> int:
    """How many writes the table has seen, by its stream; -1 if it has none."""
    shard = table.stream_shard
    return shard.starting_sequence_number + len(shard.items) if shard is not None else -1


def forget_old() -> None:
    """Drop all but the newest stream records and iterators. Call it under the lock."""
    for account in dynamodb_backends.values():
        for backend in account.values():
            for table in backend.tables.values():
                if table.stream_shard is not None:
                    _trim(table.stream_shard, KEPT)
    for streams_account in dynamodbstreams_backends.values():
        for streams in streams_account.values():
            iterators = streams.shard_iterators
            for arn in list(iterators)[:-KEPT]:
                del iterators[arn]


def _trim(shard: StreamShard, kept: int) -> None:
    surplus = max(0, len(shard.items) - kept)
    del shard.items[:surplus]
    shard.starting_sequence_number += surplus
