"""The rules that a file must meet before a model trains on it; violations name row, column, found and expected.

The fast path is one vectorised pass of sums over the clean columns. Only when a sum is not zero are the rows looked up,
and the raw fields read again as text, to say what was found. docs/decisions says why not pandera.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

import polars as pl

from training.data import parser

MAX_DOLLARS = 100_000
FOUND_LENGTH = 100
EXAMPLES = 5  # violations of one rule that are reported with their row


@dataclass(frozen=True)
class Problem:
    """Why a file is quarantined. `row` counts the data rows from 1; 0 is the file as a whole or its header."""

    row: int
    column: str
    found: str
    expected: str

    def as_dict(self) -> dict[str, Any]:
        """As it stands in `objects.json`."""
        return asdict(self)

    def cut(self, length: int) -> "Problem":
        """The same with texts of at most `length` printable characters: a file's own text stands in them."""
        return Problem(self.row, *(_cut(text, length) for text in (self.column, self.found, self.expected)))

    def sentence(self) -> str:
        """As a person reads it."""
        place = f"row {self.row}" if self.row else "the file"
        return (
            f"{place}{f', column {self.column}' if self.column else ''}: found {self.found}, expected {self.expected}"
        )


def _cut(text: str, length: int) -> str:
    text = "".join(one if one.isprintable() else repr(one)[1:-1] for one in text[: length + 1])
    return text if len(text) <= length else f"{text[: max(0, length - 1)]}…"


@dataclass(frozen=True)
class Limits:
    """What is still tolerated in one file. `order`: `any`, or time's order by `card` or by `file`."""

    min_rows: int = 1
    max_duplicate_share: float = 0.01
    order: str = "any"
    latest: date = field(default_factory=lambda: date(2100, 12, 31))


@dataclass(frozen=True)
class Rule:
    """One expectation of one raw column: `broken` is true for the rows that violate it."""

    columns: tuple[str, ...]
    expected: str
    broken: pl.Expr


def rules(limits: Limits) -> list[Rule]:
    """The table, over clean columns: null is what could not be understood."""
    last = (limits.latest - date(1970, 1, 1)).days
    return [
        Rule(("User",), "an integer ≥ 0", ~pl.col("user").ge(0).fill_null(False)),
        Rule(("Card",), "an integer from 0 to 9", ~pl.col("number").is_between(0, 9).fill_null(False)),
        Rule(("Year", "Month", "Day"), "a date that exists, from 1970 on", pl.col("date").is_null()),
        Rule(("Year", "Month", "Day"), f"a date up to {limits.latest}", pl.col("date").gt(last).fill_null(False)),
        Rule(("Time",), "HH:MM from 00:00 to 23:59", pl.col("minute").is_null()),
        Rule(
            ("Amount",),
            f"dollars such as $12.05 or $-12.05, at most {MAX_DOLLARS:,}",
            ~pl.col("cents").is_between(-MAX_DOLLARS * 100, MAX_DOLLARS * 100).fill_null(False),
        ),
        Rule(("Use Chip",), "Swipe, Chip or Online Transaction", pl.col("channel").is_null()),
        Rule(("Merchant Name",), "a 64-bit signed integer", pl.col("merchant_key").is_null()),
        Rule(("Merchant City",), "a name, or ONLINE", ~pl.col("has_city")),
        Rule(("Zip",), "empty, or an integer up to 99999", ~pl.col("zip").is_between(0, 99_999).fill_null(False)),
        Rule(("MCC",), "an integer from 700 to 9999", ~pl.col("mcc").is_between(700, 9999).fill_null(False)),
        Rule(("Is Fraud?",), "Yes or No", pl.col("label").is_null()),
    ]


def identity() -> pl.Expr:
    """A number for all of a row's clean columns: equal rows have equal ones."""
    return pl.struct(*parser.canonical()).hash()


@dataclass(frozen=True)
class Counts:
    """What one pass over a file's clean columns found."""

    rows: int
    frauds: int
    first: int  # seconds since the epoch
    last: int
    broken: Mapping[int, int]  # rule number: rows
    unordered: int
    unordered_by_card: int
    duplicates: int


def count(clean: pl.LazyFrame, limits: Limits) -> Counts:
    """The one pass; `clean` holds `time` and `card_key` too."""
    table = rules(limits)
    earlier = pl.col("time") < pl.col("time").shift(1)
    sums = {f"rule{number}": rule.broken.sum() for number, rule in enumerate(table)}
    row = clean.select(
        **sums,
        rows=pl.len(),
        frauds=pl.col("label").cast(pl.Int64).sum(),
        first=pl.col("time").min(),
        last=pl.col("time").max(),
        unordered=earlier.sum(),
        unordered_by_card=(earlier & (pl.col("card_key") == pl.col("card_key").shift(1))).sum(),
        different=identity().n_unique(),
    ).collect(engine="streaming")
    found = {name: value or 0 for name, value in row.row(0, named=True).items()}
    broken = {number: found.pop(f"rule{number}") for number in range(len(table))}
    different = found.pop("different")
    return Counts(broken={k: v for k, v in broken.items() if v}, duplicates=found["rows"] - different, **found)


def problems(
    clean: pl.LazyFrame, raw: pl.LazyFrame, missing: Collection[str], counts: Counts, limits: Limits
) -> list[Problem]:
    """Every reason to quarantine the file; empty if there is none. `raw` is the same rows as text."""
    header = [Problem(0, name, "no such column", "the column in the header") for name in missing]
    if counts.rows < limits.min_rows:
        return [*header, Problem(0, "", f"{counts.rows} rows", f"at least {limits.min_rows} rows")]
    table = {number: rule for number, rule in enumerate(rules(limits)) if not set(rule.columns) & set(missing)}
    broken = {number: total for number, total in counts.broken.items() if number in table}
    found = [problem for number, total in broken.items() for problem in _examples(table[number], clean, raw, total)]
    return header + found + _order(clean, counts, limits) + _duplicates(clean, counts, limits)


def _examples(rule: Rule, clean: pl.LazyFrame, raw: pl.LazyFrame, total: int) -> list[Problem]:
    rows = _where(clean, rule.broken)
    text = raw.select(rule.columns).with_row_index("row").filter(pl.col("row").is_in(rows)).collect()
    cells = {row[0]: "-".join(cell or "" for cell in row[1:])[:FOUND_LENGTH] for row in text.rows()}
    others = f" (and {total - len(rows)} more rows)" if total > len(rows) else ""
    return [Problem(row + 1, "/".join(rule.columns), cells[row] or "empty", rule.expected + others) for row in rows]


def _where(clean: pl.LazyFrame, condition: pl.Expr) -> list[int]:
    found = clean.with_row_index("row").filter(condition).select("row").head(EXAMPLES).collect()
    return found["row"].to_list()


def _order(clean: pl.LazyFrame, counts: Counts, limits: Limits) -> list[Problem]:
    earlier = pl.col("time") < pl.col("time").shift(1)
    same_card = pl.col("card_key") == pl.col("card_key").shift(1)
    match limits.order:
        case "file":
            total, condition = counts.unordered, earlier
        case "card":
            total, condition = counts.unordered_by_card, earlier & same_card
        case _:
            return []
    return [
        Problem(
            row + 1,
            "Year/Month/Day/Time",
            "earlier than the row before",
            f"time's order by {limits.order} ({total} are not)",
        )
        for row in _where(clean, condition)
    ]


def _duplicates(clean: pl.LazyFrame, counts: Counts, limits: Limits) -> list[Problem]:
    if counts.duplicates <= limits.max_duplicate_share * counts.rows:
        return []
    again = ~identity().is_first_distinct()
    row = _where(clean, again)[0] + 1
    expected = f"at most {limits.max_duplicate_share:.1%} repeated rows"
    return [
        Problem(row, "", f"{counts.duplicates} of {counts.rows} rows repeat another, the first is row {row}", expected)
    ]
