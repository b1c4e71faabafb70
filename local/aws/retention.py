"""Keeps moto's tables fast. moto copies a whole table for each write of a transaction and keeps all stream records."""

import copy
from typing import Any

from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.table import StreamShard, Table
from moto.dynamodbstreams.models import dynamodbstreams_backends

KEPT = 1000  # records per table, and iterators; the dispatcher reads twice a second


def copy_tables_cheaply() -> None:
    """Make copies of a table, which moto needs to undo a failed transaction, share items and stream records.

    Stream records never change, and a Put replaces an item; no code here updates an item in place (`UpdateItem`). moto
    copies the table before each write of the transaction. If nothing has changed, the last copy is returned again.
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
    """Return how many writes the table has had, by its stream; -1 if it has none."""
    shard = table.stream_shard
    return shard.starting_sequence_number + len(shard.items) if shard is not None else -1


def forget_old() -> None:
    """Drop all but the newest stream records and iterators. The caller holds the lock."""
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
