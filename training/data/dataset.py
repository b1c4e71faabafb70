"""The data set's rows: all accepted objects sorted by time, split, coded as a graph's nodes, and featurised."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from training.data import parser, schema, split
from training.data.corrections import Again, newest
from training.data.declaration import Declaration
from training.data.judging import ValidationResult, scan
from training.data.presets import preset
from training.data.schema import FeatureSchema
from training.graph.days import NEVER

UNKNOWN_LABEL = parser.UNKNOWN


def kept(data: Declaration) -> tuple[str, ...]:
    """The clean columns that a data set is made of."""
    return (*(["id"] if data.id else []), "time", *data.keys, *data.source, "label")


def gathered(
    clean: Sequence[Path],
    verdicts: Sequence[ValidationResult],
    data: Declaration | None = None,
    begin: int = split.ALWAYS,
) -> tuple[pl.DataFrame, Again]:
    """The clean rows of all objects from the second `begin` on, sorted by time, each transaction once; rows of one
    instant stay in their order.

    The objects come in the order of their delivery: of a transaction that several hold, the newest delivery counts.
    """
    data = data or preset()
    texts = [name for name in data.open_categories if not data.categories[name].whole]
    frame = scan(list(clean), data).select(kept(data)).with_columns(pl.col(texts).cast(pl.Categorical))
    rows, again = newest(frame.collect(engine="streaming"), verdicts, data)
    rows = rows if rows["time"].is_sorted() else rows.sort("time", maintain_order=True)
    return rows[int(rows["time"].search_sorted(begin, side="left")) :], again


def parted(rows: pl.DataFrame, bounds: split.Boundaries, as_of: int) -> pl.LazyFrame:
    """The rows, which have `known_at`, with their `split`; one without a label is immature.

    The label of an immature row is shown if it was known by the end of the day of `as_of`: it teaches the histories of
    later rows.
    """
    shown = (pl.col("split") != split.IMMATURE) | (pl.col("known_at") // split.DAY <= as_of // split.DAY)
    part = pl.when(pl.col("label") == UNKNOWN_LABEL).then(split.IMMATURE).otherwise(bounds.expression()).cast(pl.Int8)
    return (
        rows.lazy()
        .with_columns(split=part)
        .with_columns(
            label=pl.when(shown).then(pl.col("label")).otherwise(UNKNOWN_LABEL).cast(pl.Int8),
            known_at=pl.when(shown).then(pl.col("known_at")).otherwise(NEVER),
        )
    )


def counts(rows: pl.LazyFrame) -> dict[str, dict[str, int]]:
    """Rows and known frauds of each part by its name; of the gap and of history only if there are any."""
    sums = rows.group_by("split").agg(rows=pl.len(), frauds=(pl.col("label") == 1).sum()).collect(engine="streaming")
    table = {part: {"rows": n, "frauds": frauds} for part, n, frauds in sums.select("split", "rows", "frauds").rows()}
    found = {name: table.get(part, {"rows": 0, "frauds": 0}) for part, name in enumerate(split.NAMES)}
    return {name: part for name, part in found.items() if part["rows"] or name not in split.ASKED_FOR}


def write(rows: pl.LazyFrame, fitted: FeatureSchema, path: Path) -> dict[str, int]:
    """Writes `transactions.parquet` and returns how many of each entity the graph has: `<name>s`.

    The sources of features go with them as `clean_…`, so that an earlier model's schema can featurise the same rows.
    """
    data = fitted.data
    keys = {name: _keys(rows, f"{name}_key") for name in data.relations}
    coded = rows.with_columns(**{name: _code(f"{name}_key", known) for name, known in keys.items()})
    named = coded.with_columns(pl.col(data.source).name.prefix("clean_"))  # a feature may have the name of its source
    clean = [f"clean_{name}" for name in data.source]
    columns = ("time", *data.relations, *data.keys, "label", "known_at", "split", *clean)
    made = schema.row_features(named, fitted).select(*columns, *fitted.features)
    made.sink_parquet(path, compression="lz4", statistics=False, maintain_order=True)
    return {f"{name}s": len(known) for name, known in keys.items()}


def _keys(rows: pl.LazyFrame, key: str) -> pl.Series:
    return rows.select(pl.col(key).unique()).collect(engine="streaming")[key].sort()


def _code(key: str, known: pl.Series) -> pl.Expr:
    """Dense codes from 1 in the order of the keys; 0 stays free for the unknown."""
    return pl.col(key).replace_strict(known, pl.Series(range(1, len(known) + 1), dtype=pl.Int32), return_dtype=pl.Int32)
