"""Scores the champion or the anchor on the candidate's test rows, with its own schema, history and weights.

An error of the reference model is returned, never raised, because the gate then refuses the candidate. Only an
unreachable
store is raised, because a retry may help.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from botocore.exceptions import BotoCoreError, ClientError
from numpy.typing import NDArray

from training import storage
from training.data import schema
from training.graph.graph import TEST, graph_of
from training.graph.history import Reader
from training.model.model import FraudModel, load

COLUMNS = ("time", "card", "merchant", "label", "split")


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
    graph = graph_of(featurised(dataset, model), model.row)
    reader = Reader(graph, model.config.k, model.config.label_delay)
    return np.concatenate([model.score(block) for block in reader.blocks(graph.where(TEST))])


def featurised(dataset: Path, model: FraudModel) -> pl.DataFrame:
    """Return a data set's rows with the row features of the model's own schema."""
    fitted = model.feature_schema
    table = pl.scan_parquet(dataset / "transactions.parquet")
    source = [pl.col(f"clean_{name}").alias(name) for name in _SOURCE]
    minute = (pl.col("time") % 86_400 // 60).cast(pl.Int32).alias("minute")
    made = schema.row_features(table.select(*COLUMNS, *source, minute), fitted)
    return made.select(*COLUMNS, *model.row).collect(engine="streaming")


_SOURCE: Sequence[str] = ("cents", "channel", "state", "zip", "mcc", "errors")
