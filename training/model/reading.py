"""The inputs of many transactions of a graph, part by part: only what they need is read, and each part only once."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.graph.graph import taken
from training.graph.history import Reader
from training.model import features
from training.model.config import TrainConfig
from training.model.encoder import Encoders

PART = 2048  # as many as make messages that the processor's cache holds


def own_parts(reader: Reader, ids: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The ids [B] of each part, and their own features [B, D] in float64."""
    for part in torch.split(ids, PART):
        yield part, features.own_of(taken(reader.graph.row, part), reader.needed(part))


def own_features(reader: Reader, ids: Tensor) -> Tensor:
    """Own features [S, D] of many transactions."""
    graph = reader.graph
    found = torch.empty(len(ids), len(features.names(graph.features, features.OWN, graph.sides)))
    for place, (_, own) in zip(torch.split(found, PART), own_parts(reader, ids), strict=True):
        place.copy_(own)
    graph.release()
    return found


def input_parts(
    reader: Reader, ids: Tensor, config: TrainConfig, encoders: Encoders | None
) -> Iterator[tuple[Tensor, NDArray[np.float32]]]:
    """Own features [B, D] in float64 and the head's inputs [B, D'] of each part."""
    graph = reader.graph
    for part, own in own_parts(reader, ids):
        found = reader.edges(part, config.fan_out) if encoders is not None else {}
        edges = {side: edge.double() for side, edge in found.items()}
        yield own, features.inputs_of(own, graph.features, config.groups, encoders, edges, graph.sides)


def head_inputs(reader: Reader, ids: Tensor, config: TrainConfig, encoders: Encoders | None) -> NDArray[np.float32]:
    """The head's inputs [S, D] of many transactions."""
    graph = reader.graph
    found = np.empty((len(ids), len(features.names(graph.features, config.groups, graph.sides))), dtype=np.float32)
    for first, (_, inputs) in zip(range(0, len(ids), PART), input_parts(reader, ids, config, encoders), strict=False):
        found[first : first + PART] = inputs
    graph.release()
    return found
