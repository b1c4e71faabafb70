"""Builds blocks from a graph of nodes and edges, the request format of the blueprint's clients.

Columns of NODE_FEATURES [N, F]: the row features, then `node_columns`. The relations' columns (`card`, `merchant`, …)
hold codes that the client chooses for one request; equal codes mean the same card, merchant, …. `day` (since the epoch)
and `minute` of the day (12.5 is 30 seconds after 12) are the time. `fraud` is 1 for a fraud, and `known_day` the day on
which that became known, or that it is none; 0 while it is not known. `STATE` is the answer of `fraud_score` for that
transaction. An edge of EDGE_INDEX [2, E] goes from an earlier transaction to a later one of the same card, merchant, ….
All other edges, self loops included, are dropped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.graph.block import DAY, SIDES, Block, History, risks, volumes
from training.graph.graph import NEVER_DAY
from training.graph.history import Reader
from training.graph.velocity import state_names
from training.serving.csv_codec import BadRequest

Floats = NDArray[np.float32]


def identities(sides: Sequence[str] = SIDES) -> tuple[str, ...]:
    """Return the names of the columns that identify a node's transaction."""
    return ("day", "minute", *sides, "fraud", "known_day")


def node_columns(sides: Sequence[str] = SIDES) -> tuple[str, ...]:
    """Return the names of the columns after the row features."""
    return (*identities(sides), *state_names(sides), *volumes(sides), *risks(sides))


NODE_COLUMNS = node_columns()


def block_of(nodes: Floats, edges: NDArray[np.int64], rows: int, k: int, sides: Sequence[str] = SIDES) -> Block:
    """Return the block of all nodes [N, F]; the first `rows` columns are the row features.

    Raises:
        BadRequest: a value is not finite, or an edge names a node outside the graph.
    """
    check(nodes, edges)
    cuts = np.cumsum([rows, len(identities(sides)), len(state_names(sides)), len(volumes(sides))])
    row, who, state, volume, risk = (part.copy() for part in np.split(nodes, cuts, axis=1))
    time = who[:, 0].astype(np.int64) * 86_400 + np.rint(who[:, 1].astype(np.float64) * 60).astype(np.int64)
    codes = dict(zip(sides, who[:, 2:-2].astype(np.int64).T, strict=True))
    fraud, known_day = who[:, -2:].astype(np.int64).T
    known = _Nodes(row, state, time, codes, fraud == 1, np.where(known_day == 0, NEVER_DAY, known_day))
    return Block(
        row=row,
        histories={side: _history(known, side, edges, k) for side in sides},
        volume=volume,
        risk=risk,
    )


def check(nodes: Floats, edges: NDArray[np.int64]) -> None:
    """Raise BadRequest unless values are finite and edges name nodes of the graph."""
    if not np.isfinite(nodes).all():
        node, column = np.argwhere(~np.isfinite(nodes))[0]
        raise BadRequest(f"NODE_FEATURES[{node}, {column}] is {nodes[node, column]}, expected a finite number")
    if edges.size and not (edges.min() >= 0 and edges.max() < len(nodes)):
        raise BadRequest(f"EDGE_INDEX names nodes {edges.min()} … {edges.max()}, but there are {len(nodes)}")


@dataclass(frozen=True)
class _Nodes:
    """All nodes, with their codes by relation."""

    row: Floats
    state: Floats
    time: NDArray[np.int64]
    codes: Mapping[str, NDArray[np.int64]]
    fraud: NDArray[np.bool_]
    known_day: NDArray[np.int64]


def _history(nodes: _Nodes, side: str, edges: NDArray[np.int64], k: int) -> History:
    source, target = np.unique(edges, axis=1)
    own = nodes.codes[side]
    meant = (own[source] == own[target]) & (nodes.time[source] < nodes.time[target])
    source, target = source[meant], target[meant]
    gap = nodes.time[target] - nodes.time[source]
    order = np.lexsort((source, -gap, target))  # of two with the same time, the higher number is later
    source, target, gap = source[order], target[order], gap[order]
    after = np.searchsorted(target, target, side="right") - 1 - np.arange(len(target))
    recent = after < k
    source, target, gap, at = source[recent], target[recent], gap[recent], (target[recent], after[recent])
    matured = np.maximum(nodes.known_day, nodes.time // DAY)[source] < (nodes.time // DAY)[target]
    filled = {
        "row": nodes.row[source],
        "state": nodes.state[source],
        "gap": gap.astype(np.float32),
        "label": (matured & nodes.fraud[source]).astype(np.float32),
        "matured": matured,
        "same": np.logical_and.reduce([code[source] == code[target] for code in nodes.codes.values()]),
        "present": np.ones(len(source), dtype=bool),
    }
    return History(**{name: placed(len(nodes.time), k, at, values) for name, values in filled.items()})


def placed(rows: int, k: int, at: tuple[NDArray[np.intp], NDArray[np.intp]], values: NDArray) -> NDArray:  # type: ignore[type-arg]
    """Return zeros [B, K, …] with `values` at the positions `at`."""
    full = np.zeros((rows, k, *values.shape[1:]), dtype=values.dtype)
    full[at] = values
    return full


def graph_request(reader: Reader, ids: Tensor) -> tuple[Floats, NDArray[np.int64]]:
    """Return NODE_FEATURES and EDGE_INDEX for transactions of a data set: nodes 0 … B − 1, then their histories."""
    graph = reader.graph
    last = [line.previous(ids, reader.k) for line in graph.timelines.values()]
    others = torch.from_numpy(np.unique(torch.cat([found[present] for found, present in last]).numpy()))
    nodes = torch.cat([ids, others[~torch.isin(others, ids)]])
    number = {node: position for position, node in enumerate(nodes.tolist())}
    edges = {
        (number[source], target)
        for found, present in last
        for target, (row, there) in enumerate(zip(found, present, strict=True))
        for source in row[there].tolist()
    }
    time, block = graph.time[nodes], reader.block_in_parts(nodes)
    codes = [_codes(entity[nodes]) for entity in graph.entities.values()]
    known = torch.where(graph.known_day[nodes] == NEVER_DAY, 0, graph.known_day[nodes])
    identity_columns = [time // 86_400, time % 86_400 / 60, *codes, graph.label[nodes] == 1, known]
    who = torch.stack([column.float() for column in identity_columns], dim=1)
    columns = torch.cat([graph.row[nodes], who, reader.state[nodes], block.volume, block.risk], dim=1)
    return columns.numpy(), np.array(sorted(edges), dtype=np.int64).reshape(-1, 2).T.copy()


def _codes(entity: Tensor) -> Tensor:
    """Return small numbers for the entities of one request, because float32 cannot represent large ones."""
    return torch.from_numpy(np.unique(entity.numpy(), return_inverse=True)[1])
