"""Reports of fraud, which come after their transactions: what a labels file says, and of which rows.

A labels file holds, in the columns that the model's data declare, what a transaction is known by (its id; without one
its time, entities and amount), the label, and perhaps two columns more:

    reported_at  when that became known: ISO 8601, or seconds since the epoch (empty or left out: when the file arrived)
    number       which of several transactions that are equal in all this, from 1 in the order in which they were
                 delivered (empty or left out: all of them)

Of the reports of one transaction the newest counts, and its label is known since the first report that says the same
without one between them that says otherwise. So neither the order of files nor a repeated report changes anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from training.data import checks, file_reader, parser
from training.data.bounds import Bounds
from training.data.checks import Limits, Problem, Rule
from training.data.declaration import Declaration, Label

LABEL, REPORTED_AT, NUMBER = "fraud", "reported_at", "number"  # LABEL: its column where none is declared
SECONDS = r"^\d{1,11}$"


@dataclass(frozen=True)
class ReportFile:
    """An accepted labels file: its clean rows, and when it arrived (seconds since the epoch)."""

    clean: Path
    arrived_at: int


@dataclass(frozen=True)
class Feed:
    """All reports in the order of their delivery: what a transaction is known by, `number` (0: all), `label`, `at`."""

    rows: pl.DataFrame

    @property
    def newest(self) -> int:
        """When the newest report came, in seconds since the epoch."""
        return int(self.rows["at"].max() or 0)  # type: ignore[arg-type]


def identity(data: Declaration) -> tuple[str, ...]:
    """The clean columns by which a report names a transaction."""
    return ("id",) if data.id else ("time", *data.keys, "cents")


def columns(data: Declaration) -> tuple[str, ...]:
    """The columns that a labels file must have."""
    told = _told(data)
    assert told.label is not None
    return (data.id, told.label.column) if data.id else told.known


def _told(data: Declaration) -> Declaration:
    """What a labels file says of a transaction."""
    label = replace(data.label or Label(LABEL), empty=False)
    bare = replace(data, categories={}, numbers={}, flags={}, present=(), columns=(), features=(), label=label)
    return bare if data.id else replace(bare, id="")


def convert(raw: Path, clean: Path, limits: Limits, scratch: Path, bounds: Bounds, data: Declaration) -> list[Problem]:
    """Writes the clean rows of a labels file and returns what is wrong with it.

    Clean: what a transaction is known by, `number` Int32 (0: all), `label` Int8, `reported_at` Int64 (null: arrival).

    Raises:
        Unreadable: it is no table at all.
    """
    wanted = columns(data)
    file = file_reader.open_text(raw, scratch, bounds, (*wanted, REPORTED_AT, NUMBER))
    missing = [name for name in file.missing if name in wanted]
    try:
        _clean(file.text, data).sink_parquet(clean, compression="lz4", statistics=False)
    except pl.exceptions.PolarsError as error:
        raise file_reader.explain(file, error) from error
    frame = scan([clean], data)
    rules = [rule for rule in _rules(limits, data) if not set(rule.columns) & set(missing)]
    sums = frame.select(rows=pl.len(), **{str(n): rule.broken.sum() for n, rule in enumerate(rules)}).collect()
    found = [Problem(0, name, "no such column", "the column in the header") for name in missing]
    if not sums["rows"].item():
        return [*found, Problem(0, "", "0 rows", "at least 1 report")]
    broken = [(rule, sums[str(n)].item()) for n, rule in enumerate(rules)]
    return found + [one for rule, n in broken if n for one in checks.examples(rule, frame, file.text, n)]


def _clean(text: pl.LazyFrame, data: Declaration) -> pl.LazyFrame:
    made = parser.canonical(_told(data))
    kept = {name: made[name] for name in (("id", "label") if data.id else made)}
    whole = pl.col(NUMBER).cast(pl.Int32, strict=False)
    number = pl.when(pl.col(NUMBER).is_null()).then(0).when(whole > 0).then(whole).cast(pl.Int32)
    at = pl.col(REPORTED_AT).str.strip_chars()
    second = pl.when(at.str.contains(SECONDS)).then(at.cast(pl.Int64, strict=False))
    told = pl.coalesce(second, parser.iso(at, data.time.zone))
    return text.select(**kept, number=number, reported_at=told, arrived=pl.col(REPORTED_AT).is_null())


def _rules(limits: Limits, data: Declaration) -> list[Rule]:
    rules = [rule for rule in checks.rules(limits, _told(data)) if set(rule.columns) <= set(columns(data))]
    late = (pl.col(REPORTED_AT) // 86_400).gt((limits.latest - parser.EPOCH).days).fill_null(False)
    unclear = pl.col(REPORTED_AT).is_null() & ~pl.col("arrived")
    when = f"a time such as 2026-11-27 08:30:00, or seconds since 1970, up to {limits.latest}; or empty"
    which = "a running number from 1, or empty"
    return [*rules, Rule((REPORTED_AT,), when, late | unclear), Rule((NUMBER,), which, pl.col(NUMBER).is_null())]


def scan(clean: Sequence[Path], data: Declaration) -> pl.LazyFrame:
    """The clean rows of labels files, with `time` and the keys of entities."""
    frame = pl.scan_parquet(list(clean))
    return frame if data.id else frame.with_columns(**parser.keyed(data))


def span(clean: Path, data: Declaration) -> dict[str, int]:
    """`rows`, `frauds`, `first` and `last` of a labels file, as the index keeps them.

    `first` is the earliest transaction (0 if only ids say which); `last` the newest report (`NEVER`: its arrival).
    """
    told = pl.col(REPORTED_AT).max() if data.id else pl.max_horizontal(pl.col(REPORTED_AT).max(), pl.col("time").max())
    found = scan([clean], data).select(
        rows=pl.len(),
        frauds=(pl.col("label") == 1).sum(),
        first=pl.lit(0) if data.id else pl.col("time").min(),
        last=pl.when(pl.col(REPORTED_AT).has_nulls()).then(parser.NEVER).otherwise(told),
    )
    return {name: int(value or 0) for name, value in found.collect().row(0, named=True).items()}


def read(files: Sequence[ReportFile], data: Declaration, begin: int = 0) -> Feed | None:
    """The reports of all labels files, in the order of their delivery; none if there is no file.

    Those of transactions before the second `begin` are left out; if an id says which, those that were reported before.
    """
    if not files:
        return None
    key = [pl.col(name).cast(pl.Int64) for name in identity(data)]
    parts = [
        scan([file.clean], data).select(
            *key, "number", "label", at=pl.col(REPORTED_AT).fill_null(file.arrived_at).cast(pl.Int64)
        )
        for file in files
    ]
    return Feed(pl.concat(parts).filter(pl.col("at" if data.id else "time") >= begin).collect())


@dataclass(frozen=True)
class StandingReports:
    """What the reports say of the rows of a data set.

    `rows`: `row` (UInt32), `label`, `at` (since when it stands) and `changed` (an earlier report said otherwise), each
    row once. `waiting` counts reports, told apart by what they name, whose transactions are not there yet.
    """

    rows: pl.DataFrame
    waiting: int


def matched(feed: Feed, rows: pl.DataFrame, data: Declaration) -> StandingReports:
    """Which rows the reports name, and what stands of each."""
    key = list(identity(data))
    reports = feed.rows.with_row_index("order")
    named = reports.select(key).unique()
    there = rows.select(pl.col(key).cast(pl.Int64)).with_row_index("row").join(named, on=key, how="semi").sort("row")
    numbered = there.with_columns(nth=pl.int_range(1, pl.len() + 1).over(key))
    pairs = reports.join(numbered, on=key, how="inner").filter(
        (pl.col("number") == 0) | (pl.col("number") == pl.col("nth"))
    )
    lost = reports.join(pairs.select("order").unique(), on="order", how="anti").select(*key, "number").unique()
    return StandingReports(_standing(pairs.select("row", "label", "at", "order")), len(lost))


def _standing(pairs: pl.DataFrame) -> pl.DataFrame:
    ordered = pairs.sort("row", "at", "order")
    turned = (pl.col("label") != pl.col("label").shift(1)) & (pl.col("row") == pl.col("row").shift(1))
    runs = ordered.with_columns(run=turned.fill_null(False).cast(pl.Int32).cum_sum().over("row"))
    last = pl.col("at").filter(pl.col("run") == pl.col("run").max()).min()
    return runs.group_by("row").agg(pl.col("label").last(), at=last, changed=pl.col("run").max() > 0).sort("row")
