"""Keeps moto's table streams small: it forgets no record and no iterator, and copies them all in each transaction."""

import copy
from typing import Any

from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.table import StreamShard
from moto.dynamodbstreams.models import dynamodbstreams_backends

KEPT = 1000  # records a table and iterators; the dispatcher reads twice a second


def copy_shards_cheaply() -> None:
    """Let the copy of a table, made to undo a failed transaction, share its stream's records, which never change."""

    def sharing(shard: StreamShard, memo: dict[int, Any]) -> StreamShard:
        twin = copy.copy(shard)
        memo[id(shard)] = twin
        twin.table = copy.deepcopy(shard.table, memo)
        twin.items = list(shard.items)
        return twin

    StreamShard.__deepcopy__ = sharing  # type: ignore[attr-defined]


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
