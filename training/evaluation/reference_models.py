"""Scores the champion or the anchor on the candidate's test rows, with its own schema, history and weights.

An error of the reference model is returned, never raised, because the gate then refuses the candidate. Only an
unreachable
store is raised, because a retry may help.
"""

import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from botocore.exceptions import BotoCoreError, ClientError
from numpy.typing import NDArray

from training import storage
from training.data import schema
from training.graph import store
from training.graph.block import DEFINITION
from training.graph.graph import CENTS, KNOWN_AT, TEST, Graph, graph_of, load_graph, unit_of
from training.graph.history import Reader
from training.model import head
from training.model.model import FraudModel, load
from training.model.reading import input_parts


def version_of(uri: str) -> str:
    """Return the version in a `models/<model>/<version>` URI."""
    return uri.rstrip("/").rpartition("/")[2]


def reference_scores(uri: str, dataset: Path) -> NDArray[np.float32] | str:
    """Return the probabilities [N] of the test rows by the model in `uri`, or the error."""
    try:
        with tempfile.TemporaryDirectory() as scratch:
            folder = storage.local(storage.join(uri, "model"), Path(scratch) / "model")
            return score_test(load(folder), dataset)
    except (BotoCoreError, ClientError):
        raise
    except Exception as error:  # noqa: BLE001 — a model that cannot be scored any more is an answer; storage's errors are raised above
        return f"{type(error).__name__}: {error}"


def score_test(model: FraudModel, dataset: Path) -> NDArray[np.float32]:
    """Return the model's probabilities of a data set's test rows, with features by the model's own schema."""
    with tempfile.TemporaryDirectory(prefix="fraudloop-reference-") as scratch:
        graph = own_graph(model, dataset, Path(scratch))
        reader = Reader(graph, model.config.k)
        parts = input_parts(reader, graph.where(TEST), model.config, model.encoders)
        return np.concatenate([head.predict(model.booster, inputs) for _, inputs in parts])


def own_graph(model: FraudModel, dataset: Path, scratch: Path) -> Graph:
    """Return a data set's graph with the row features of the model's own schema; its files are in `scratch`, if any."""
    if not store.exists(dataset):
        return graph_of(featurised(dataset, model), model.row, model.sides, unit_of(model.schema))
    frames = own_features_of(dataset, model)
    same = model.feature_schema.sha256 == schema.loads((dataset / "schema.json").read_bytes()).sha256
    if same and (known := load_graph(dataset, model.row)).nodes.keys() == {model.config.k}:
        return known
    return store.other(dataset, scratch, model.row, frames, model.config.k)


def featurised(dataset: Path, model: FraudModel) -> pl.DataFrame:
    """Return a data set's rows with the row features of the model's own schema; raises as `own_features_of`."""
    keys = ("time", *model.sides, "label", KNOWN_AT, "split", CENTS)
    return own_features_of(dataset, model)(0, None).select(*keys, *model.row).collect(engine="streaming")


def own_features_of(dataset: Path, model: FraudModel) -> store.Frames:
    """Return what gives so many of a data set's rows from a number on, with the row features of the model's own schema.

    Raises:
        ValueError: the model's windows and known labels are of another definition, or the data set's declaration does
            not give what the model's needs; names the tables that differ.
    """
    if model.definition != DEFINITION:
        raise ValueError(
            f"its windows and known labels are of definition {model.definition}, this release computes {DEFINITION}"
        )
    fitted = model.feature_schema
    data = fitted.data
    present = schema.loads((dataset / "schema.json").read_bytes()).data
    if lacking := data.lacks(present):
        raise ValueError(f"its data declares otherwise: {', '.join(lacking)}")
    keys = ("time", *data.relations, "label", KNOWN_AT, "split", CENTS)
    source = [pl.col(f"clean_{name}").alias(name) for name in data.source]
    table = pl.scan_parquet(dataset / "transactions.parquet").select(*keys, *source)
    return lambda first, count: schema.row_features(table.slice(first, count), fitted)
