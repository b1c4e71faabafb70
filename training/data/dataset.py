"""The data set's rows: all accepted objects sorted by time, split, coded as a graph's nodes, and featurised."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from training.data import schema, split
from training.data.corrections import Again, newest
from training.data.judging import ValidationResult, scan
from training.data.schema import FeatureSchema

KEYS = ("time", "card", "merchant", "card_key", "merchant_key", "label", "split")
SOURCE = ("cents", "channel", "state", "zip", "mcc", "errors")  # what row features are made of, besides the time
CLEAN = ("time", "card_key", "merchant_key", *SOURCE, "label")
UNKNOWN_LABEL = -1


def gathered(clean: Sequence[Path], verdicts: Sequence[ValidationResult]) -> tuple[pl.DataFrame, Again]:
    """The clean rows of all objects, sorted by time, each transaction once; rows of one minute stay in their order.

    The objects come in the order of their delivery: of a transaction that several hold, the newest delivery counts.
    """
    frame = scan(list(clean)).select(CLEAN).with_columns(pl.col("state").cast(pl.Categorical))
    rows, again = newest(frame.collect(engine="streaming"), verdicts)
    return rows if rows["time"].is_sorted() else rows.sort("time", maintain_order=True), again


def parted(rows: pl.DataFrame, bounds: split.Boundaries) -> pl.LazyFrame:
    """The rows with `split` and `minute`; a label that is not known yet is `UNKNOWN_LABEL`."""
    label = pl.when(pl.col("split") == split.IMMATURE).then(UNKNOWN_LABEL).otherwise(pl.col("label")).cast(pl.Int8)
    minute = (pl.col("time") % 86_400 // 60).cast(pl.Int32)
    return rows.lazy().with_columns(split=bounds.expression(), minute=minute).with_columns(label=label)


def counts(rows: pl.LazyFrame) -> dict[str, dict[str, int]]:
    """Rows and known frauds of each part by its name."""
    found = rows.group_by("split").agg(rows=pl.len(), frauds=(pl.col("label") == 1).sum()).collect(engine="streaming")
    table = {part: {"rows": n, "frauds": frauds} for part, n, frauds in found.select("split", "rows", "frauds").rows()}
    return {name: table.get(part, {"rows": 0, "frauds": 0}) for part, name in enumerate(split.NAMES)}


def write(rows: pl.LazyFrame, fitted: FeatureSchema, path: Path) -> dict[str, int]:
    """Writes `transactions.parquet` and returns how many cards and merchants the graph has.

    `SOURCE` goes with the features as `clean_…`, so that an earlier model's schema can featurise the very same rows.
    """
    keys = {name: _keys(rows, f"{name}_key") for name in ("card", "merchant")}
    coded = rows.with_columns(**{name: _code(f"{name}_key", known) for name, known in keys.items()})
    kept = coded.with_columns(pl.col(SOURCE).name.prefix("clean_"))  # a feature may have the name of its source
    made = schema.row_features(kept, fitted).select(*KEYS, *(f"clean_{name}" for name in SOURCE), *schema.FEATURES)
    made.sink_parquet(path, compression="lz4", statistics=False, maintain_order=True)
    return {f"{name}s": len(known) for name, known in keys.items()}


def _keys(rows: pl.LazyFrame, key: str) -> pl.Series:
    return rows.select(pl.col(key).unique()).collect(engine="streaming")[key].sort()


def _code(key: str, known: pl.Series) -> pl.Expr:
    """Dense codes from 1 in the order of the keys; 0 stays free for the unknown."""
    return pl.col(key).replace_strict(known, pl.Series(range(1, len(known) + 1), dtype=pl.Int32), return_dtype=pl.Int32)
