"""The rules that a file must meet before a model trains on it; violations name row, column, found and expected.

The fast path is one vectorised pass of sums over the clean columns. Only when a sum is not zero are the rows looked up,
and the raw fields read again as text, to say what was found. docs/decisions says why not pandera.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

import polars as pl

from training.data import parser
from training.data.declaration import Category, Declaration, Number
from training.data.presets import preset

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


def rules(limits: Limits, data: Declaration | None = None) -> list[Rule]:
    """The table, over clean columns with their keys: null is what could not be understood."""
    data = data or preset()
    made = [*_who(data), *_when(data, limits), _how_much(data)]
    made += [_kind(name, one) for name, one in data.categories.items()]
    made += [_measure(name, one) for name, one in data.numbers.items()]
    if data.present:
        made.append(Rule(data.present, "a name, or ONLINE" if data == preset() else "a value", ~pl.col("present")))
    if data.id:
        made.append(Rule((data.id,), "a value that is known once", pl.col("id").is_null()))
    if data.label:
        words = _listed([*data.label.fraud, *data.label.good, *(["empty"] if data.label.empty else [])])
        words += "" if data.label.empty else " (data.label; with empty = true an empty one is not known yet)"
        made.append(Rule((data.label.column,), words, pl.col("label").is_null()))
    places = {column: place for place, column in enumerate(data.known)}
    return sorted(made, key=lambda rule: places[rule.columns[0]])


def _who(data: Declaration) -> Iterator[Rule]:
    for name, entity in data.entities.items():
        if not entity.whole:
            yield Rule(entity.columns, f"a value: it says which {name} it is", pl.col(f"{name}_key").is_null())
        for number, (column, span) in enumerate(zip(entity.columns, entity.whole, strict=False), 1):
            clean = f"{name}_{number}" if len(entity.whole) > 1 else f"{name}_key"
            words = f"{_whole_numbers(*span)} (data.entities.{name}.whole; with [] any text)"
            yield Rule((column,), words, ~pl.col(clean).is_between(*span).fill_null(False))


def _when(data: Declaration, limits: Limits) -> Iterator[Rule]:
    time, last = data.time, (limits.latest - date(1970, 1, 1)).days
    late = (pl.col("time") // 86_400).gt(last).fill_null(False)
    if time.parts is not None:
        day = (time.parts.year, time.parts.month, time.parts.day)
        minutes = 'HH:MM from 00:00 to 23:59 (data.time.resolution; with "second" also HH:MM:SS)'
        clock = minutes if time.resolution == "minute" else "HH:MM or HH:MM:SS"
        yield Rule(day, f"a date that exists, from {parser.FIRST_YEAR} on", pl.col("date").is_null())
        yield Rule(day, f"a date up to {limits.latest}", late)
        yield Rule((time.parts.time,), clock, pl.col("clock").is_null())
        if time.zone != "UTC":
            there = pl.col("date").is_not_null() & pl.col("clock").is_not_null()
            yield Rule(time.columns, f"a time that exists in {time.zone}", there & pl.col("time").is_null())
        return
    words = {
        "iso": "a time such as 2026-11-27 08:30:00",
        "epoch": f"a number of {time.unit:g} seconds since {time.origin}",
    }
    yield Rule(
        time.columns, words.get(time.format, f"a time as {time.format}") + " (data.time)", pl.col("time").is_null()
    )
    early = pl.col("time").lt(0).fill_null(False)
    yield Rule(time.columns, f"a time from 1970-01-01 up to {limits.latest}", late | early)


def _how_much(data: Declaration) -> Rule:
    amount = data.amount
    most = round(amount.limit * 10**amount.minor_units)
    mark, end = next(iter(amount.prefixes), ""), next(iter(amount.suffixes), "")
    written = "12" + (f"{amount.decimal}05" if amount.minor_units else "")
    noun = "dollars" if mark == "$" else "an amount"
    expected = (
        f"{noun} such as {mark}{written}{end} or {mark}-{written}{end}, at most {amount.limit:,.0f} (data.amount)"
    )
    return Rule((amount.column,), expected, ~pl.col("cents").is_between(-most, most).fill_null(False))


def _kind(name: str, category: Category) -> Rule:
    code, setting = pl.col(name), f"data.categories.{name}"
    hint = f" ({setting})" if category.empty else f" ({setting}; empty = true admits empty ones)"
    if category.values:
        words = _listed([*category.values, *(["empty"] if category.empty else [])])
        return Rule((category.column,), words + hint, code.is_null())
    if category.whole:
        low, high = category.whole
        inside = code.is_between(low, high) | (code.eq(0) if category.empty else False)
        words = _or_empty(category.empty) + _whole_numbers(*category.whole)
        return Rule((category.column,), words + hint, ~inside.fill_null(False))
    return Rule((category.column,), "a value" + hint, code.is_null())


def _measure(name: str, number: Number) -> Rule:
    span = (int(number.least), int(number.most)) if number.whole else (number.least, number.most)
    words = _whole_numbers(*span) if number.whole else f"a number from {span[0]:g} to {span[1]:g}"
    hint = f" (data.numbers.{name}" + (")" if number.empty else "; empty = true admits empty ones)")
    return Rule((number.column,), _or_empty(number.empty) + words + hint, pl.col(name).is_null())


def _or_empty(empty: bool) -> str:
    return "empty, or " if empty else ""


def _whole_numbers(low: float, high: float) -> str:
    if (low, high) == (-(2**63), 2**63 - 1):
        return "a 64-bit signed integer"
    return f"an integer ≥ {low}" if high >= parser.INT32 else f"an integer from {low} to {high}"


def _listed(words: Sequence[str]) -> str:
    """`Yes or No`; of words that all end alike the end once: `Swipe, Chip or Online Transaction`."""
    ends = {word.rpartition(" ")[2] for word in words}
    if len(words) > 1 and len(ends) == 1 and all(" " in word for word in words):
        words = [*(word.rpartition(" ")[0] for word in words[:-1]), words[-1]]
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def identity(data: Declaration | None = None) -> pl.Expr:
    """A number for all of a row's clean columns: equal rows have equal ones."""
    return pl.struct(*parser.canonical(data)).hash()


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


def count(clean: pl.LazyFrame, limits: Limits, data: Declaration | None = None) -> Counts:
    """The one pass; `clean` holds `time` and the keys too."""
    data = data or preset()
    table = rules(limits, data)
    earlier = pl.col("time") < pl.col("time").shift(1)
    sums = {f"rule{number}": rule.broken.sum() for number, rule in enumerate(table)}
    row = clean.select(
        **sums,
        rows=pl.len(),
        frauds=(pl.col("label") == 1).sum(),
        first=pl.col("time").min(),
        last=pl.col("time").max(),
        unordered=earlier.sum(),
        unordered_by_card=(earlier & _same(data)).sum(),
        different=identity(data).n_unique(),
    ).collect(engine="streaming")
    found = {name: value or 0 for name, value in row.row(0, named=True).items()}
    broken = {number: found.pop(f"rule{number}") for number in range(len(table))}
    different = found.pop("different")
    return Counts(broken={k: v for k, v in broken.items() if v}, duplicates=found["rows"] - different, **found)


def _same(data: Declaration) -> pl.Expr:
    """Whether a row has the first entity of the row before."""
    key = pl.col(data.keys[0])
    return key == key.shift(1)


def problems(
    clean: pl.LazyFrame,
    raw: pl.LazyFrame,
    missing: Collection[str],
    counts: Counts,
    limits: Limits,
    data: Declaration | None = None,
) -> list[Problem]:
    """Every reason to quarantine the file; empty if there is none. `raw` is the same rows as text."""
    data = data or preset()
    header = [Problem(0, name, "no such column", "the column in the header") for name in missing]
    if counts.rows < limits.min_rows:
        return [*header, Problem(0, "", f"{counts.rows} rows", f"at least {limits.min_rows} rows")]
    table = {number: rule for number, rule in enumerate(rules(limits, data)) if not set(rule.columns) & set(missing)}
    broken = {number: total for number, total in counts.broken.items() if number in table}
    found = [problem for number, total in broken.items() for problem in examples(table[number], clean, raw, total)]
    return header + found + _order(clean, counts, limits, data) + _duplicates(clean, counts, limits, data)


def examples(rule: Rule, clean: pl.LazyFrame, raw: pl.LazyFrame, total: int) -> list[Problem]:
    """The first of the `total` rows that break a rule, with what stands in them."""
    rows = _where(clean, rule.broken)
    text = raw.select(rule.columns).with_row_index("row").filter(pl.col("row").is_in(rows)).collect()
    cells = {row[0]: "-".join(cell or "" for cell in row[1:])[:FOUND_LENGTH] for row in text.rows()}
    others = f" (and {total - len(rows)} more rows)" if total > len(rows) else ""
    return [Problem(row + 1, "/".join(rule.columns), cells[row] or "empty", rule.expected + others) for row in rows]


def _where(clean: pl.LazyFrame, condition: pl.Expr) -> list[int]:
    found = clean.with_row_index("row").filter(condition).select("row").head(EXAMPLES).collect()
    return found["row"].to_list()


def _order(clean: pl.LazyFrame, counts: Counts, limits: Limits, data: Declaration) -> list[Problem]:
    earlier = pl.col("time") < pl.col("time").shift(1)
    match limits.order:
        case "file":
            total, condition = counts.unordered, earlier
        case "card":
            total, condition = counts.unordered_by_card, earlier & _same(data)
        case _:
            return []
    return [
        Problem(
            row + 1,
            "/".join(data.time.columns),
            "earlier than the row before",
            f"time's order by {limits.order} ({total} are not)",
        )
        for row in _where(clean, condition)
    ]


def _duplicates(clean: pl.LazyFrame, counts: Counts, limits: Limits, data: Declaration) -> list[Problem]:
    if counts.duplicates <= limits.max_duplicate_share * counts.rows:
        return []
    again = ~identity(data).is_first_distinct()
    row = _where(clean, again)[0] + 1
    expected = f"at most {limits.max_duplicate_share:.1%} repeated rows (max_duplicate_share)"
    return [
        Problem(row, "", f"{counts.duplicates} of {counts.rows} rows repeat another, the first is row {row}", expected)
    ]
