"""Maturity cohorts: what of a month's alerts turned out to be fraud, and how much of it is known by now.

An answer is joined with the data set's row of the same time and entities. The log holds entities as keyed hashes, so
whoever joins needs the secret. Several payments of one time and one set of entities are paired in their order.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

KEY = "key:{}=([0-9a-f]{{16}});"
Hashed = Callable[[str, int], bytes]


def answered(log: pl.DataFrame, relations: Sequence[str]) -> pl.DataFrame:
    """The log's answers as the join needs them: time, an 8-byte hash for each relation, alert and probability."""
    keys = {f"{name}_hash": pl.col("transaction").str.extract(KEY.format(re.escape(name))) for name in relations}
    return log.select("time", **keys, alert="decision", probability=pl.col("probability").cast(pl.Float64))


def labelled(rows: pl.DataFrame, relations: Sequence[str], hashed: Hashed) -> pl.DataFrame:
    """The data set's rows as the join needs them. `rows` has time, `<relation>_key`, label and, if it has, known_at."""
    made = rows.with_columns(known_at=pl.col("known_at") if "known_at" in rows.columns else pl.col("time"))
    for name in relations:
        known = made[f"{name}_key"].unique()
        hashes = pl.Series([hashed(name, key).hex() for key in known.to_list()], dtype=pl.String)
        code = pl.col(f"{name}_key").replace_strict(known, hashes, return_dtype=pl.String)
        made = made.with_columns(code.alias(f"{name}_hash"))
    return made.select("time", *(f"{name}_hash" for name in relations), "label", "known_at")


def cohorts(answers: pl.DataFrame, labels: pl.DataFrame, now: float) -> list[dict[str, Any]]:
    """One record for each month of transactions, oldest first, with what is known at `now`.

    `alerts` of `payments`; `known` alerts have a label by now, `frauds` of them are fraud, `expected` is how many the
    scores promised among the known ones; `missed` are known frauds without an alert. `precision` and `recall` are of
    what is known, None where nothing is. `matched` payments are in the data set.
    """
    keys = [name for name in answers.columns if name == "time" or name.endswith("_hash")]
    number = pl.int_range(pl.len()).over(keys).alias("number")
    joined = answers.with_columns(number).join(labels.with_columns(number), on=[*keys, "number"], how="left")
    known = ((pl.col("label") >= 0) & (pl.col("known_at") <= now)).fill_null(value=False)
    fraud = known & (pl.col("label") == 1)
    month = pl.from_epoch("time").dt.strftime("%Y-%m")
    counted = (
        joined.group_by(month.alias("month"))
        .agg(
            payments=pl.len(),
            matched=pl.col("label").is_not_null().sum(),
            labelled=known.sum(),
            alerts=pl.col("alert").sum(),
            known=(known & pl.col("alert")).sum(),
            frauds=(fraud & pl.col("alert")).sum(),
            missed=(fraud & ~pl.col("alert")).sum(),
            expected=pl.col("probability").filter(known & pl.col("alert")).sum(),
        )
        .sort("month")
    )
    return [_shares(row) for row in counted.iter_rows(named=True)]


def _shares(row: Mapping[str, Any]) -> dict[str, Any]:
    caught, found = row["frauds"], row["frauds"] + row["missed"]
    return {
        **row,
        "expected": round(row["expected"], 3),
        "precision": caught / row["known"] if row["known"] else None,
        "recall": caught / found if found else None,
    }
