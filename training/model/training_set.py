"""From a data set folder to a training set: reader, seeds and their own features."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.graph.graph import TRAIN, VALIDATE, load_graph, taken
from training.graph.history import Reader
from training.model import features
from training.model.config import TrainConfig
from training.model.encoder import MessageBuilder
from training.model.fit import TrainingSet
from training.model.reading import own_features
from training.model.seeds import at_most, thinned


def prepared(dataset: Path, config: TrainConfig) -> TrainingSet:
    """The seeds of a local data set folder, thinned, with their own features; the graph stays whole."""
    row = row_features(json.loads((dataset / "schema.json").read_bytes()))
    reader = Reader(load_graph(dataset, row), config.k)
    train = thinned(reader.graph, TRAIN, config.negative_ratio, config.seed)
    validation = at_most(reader.graph, VALIDATE, config.encoder_validation_rows, config.seed)
    own = own_features(reader, train.ids)
    message_builder = MessageBuilder(features.width(row, config, reader.graph.sides))
    message_builder.own.fit(own)
    # A neighbour is a transaction like the seeds, so the seeds' own node features give its mean and deviation.
    message_builder.neighbour.fit(taken(reader.node_features, train.ids))
    return TrainingSet(
        reader, config.fan_out, train, own, validation, own_features(reader, validation.ids), message_builder
    )


def row_features(schema: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the row features in the schema's order."""
    return tuple(schema["features"])
