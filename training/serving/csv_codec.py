"""Raw transactions as lines of text, and back: what the served model reads, and what a client or golden request says.

A line holds the declared columns in the declaration's order, separated by commas, quoted where CSV asks for it. The
last one, the label, may be empty or left out; it stands there also if no column is declared, as 1, 0 or empty. A line
of history goes on with the state that the server answered when that transaction was scored.

An entity that is not whole numbers may be told by its key: `key:NAME=`, 16 hexadecimal digits and `;` before whatever
else stands in its first column. A time in one column may be `@` and seconds since 1970 in UTC. An id may be empty.
"""

import io
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.data import checks, parser
from training.data.declaration import Category, Declaration, Entity, Flags, Label, Number
from training.data.presets import preset
from training.data.schema import FeatureSchema
from training.graph.velocity import state_names

PRESENT = "Somewhere"  # a data set does not keep columns of which no feature is made
UNLABELLED = "fraud"
KEY = r"key:[a-z0-9_]+=[0-9a-f]{16};"
KEYED = re.compile(KEY, re.ASCII)


class BadRequest(ValueError):
    """A request cannot be answered; the message says what is wrong in it, where, and what was expected."""


class BadLine(BadRequest):
    """One line is wrong."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line


def columns(data: Declaration) -> tuple[str, ...]:
    """The fields of a line, the label last; without the state."""
    return served(data).known


def served(data: Declaration) -> Declaration:
    """The declaration of a request's lines: as of the files, but the label may be unknown, and has a word for good.

    Where a column only ever says fraud, a labels feed may still say what is none.
    """
    label = data.label or Label(UNLABELLED)
    good = label.good or tuple(word for word in ("0", "no") if word not in label.fraud)[:1]
    return replace(data, label=replace(label, empty=True, good=good))


def latest(today: date) -> date:
    """The last day that a transaction may be of. Clocks differ: a transaction of tomorrow may be today's elsewhere."""
    return today + timedelta(days=1)


def parse(lines: Sequence[bytes], today: date, data: Declaration | None = None) -> pl.DataFrame:
    """Clean columns of raw lines, with `time`, keys, `label` (null where empty) and the state (null where unclear).

    Raises:
        BadLine: the number of the first line that is wrong, and why.
    """
    data = served(data or preset())
    raw = _read(lines, data)
    names = [f"state {name}" for name in state_names(data.relations)]
    state = {name: pl.col(name).cast(pl.Float64, strict=False).cast(pl.Float32) for name in names}
    hashed = [name for name, entity in data.entities.items() if not entity.whole]
    marked = [data.entities[name].columns[0] for name in hashed]
    plain = raw.with_columns(pl.col(marked).str.replace_all(KEY, "").replace("", None))
    clean = plain.select(**parser.canonical(data), **state).with_columns(**parser.keyed(data))
    clean = clean.with_columns(**_told(raw, data))
    _refuse_broken(clean, raw, today, data)
    return clean.with_columns(label=pl.when(pl.col("label") >= 0).then(pl.col("label")))


def _told(raw: pl.DataFrame, data: Declaration) -> dict[str, pl.Expr | pl.Series]:
    """Keys and times that a line says in place of what they are made of."""
    made: dict[str, pl.Expr | pl.Series] = {}
    for name, entity in data.entities.items():
        if entity.whole:
            continue
        found = raw[entity.columns[0]].str.extract(rf"key:{name}=([0-9a-f]{{16}});")
        if found.null_count() < len(found):
            keys = [None if one is None else _signed(one) for one in found.to_list()]
            made[f"{name}_key"] = pl.coalesce(pl.lit(pl.Series(keys, dtype=pl.Int64)), pl.col(f"{name}_key"))
    if data.time.parts is None:
        second = raw[data.time.column].str.extract(r"^@(-?\d{1,18})$").cast(pl.Int64)
        made |= {"time": pl.coalesce(pl.lit(second), pl.col("time"))} if second.null_count() < len(second) else {}
    return made


def _signed(key: str) -> int:
    return int.from_bytes(bytes.fromhex(key), "big", signed=True)


def _read(lines: Sequence[bytes], data: Declaration) -> pl.DataFrame:
    _check_lines(lines)
    # Numbered names: a column may be called anything, also like one of the state.
    fields = [*data.known, *(f"state {name}" for name in state_names(data.relations))]
    text = {str(number): pl.String for number in range(len(fields))}
    body = b"\n".join([",".join(text).encode(), *lines])  # with a header, a line that is shorter ends in nulls
    try:
        raw = pl.read_csv(io.BytesIO(body), schema=text)
    except pl.exceptions.PolarsError as error:
        raise _culprit(lines, str(error).partition("\n")[0], len(fields)) from error
    if len(raw) != len(lines):
        raise BadRequest(f"{len(lines)} lines were read as {len(raw)} transactions")
    raw.columns = fields
    # A quoted empty cell is an empty cell.
    return raw.with_columns(pl.all().replace("", None)) if b'""' in body else raw


def _check_lines(lines: Sequence[bytes]) -> None:
    together = b"\n".join(lines)
    if all(lines) and together.count(b"\n") < len(lines) and b"\r" not in together:
        pieces = together.split(b'"')
        if len(pieces) % 2 and b"\n" not in b"".join(pieces[1::2]):  # no line ends between two quotes
            return
    for number, line in enumerate(lines):
        if not line or b"\n" in line or b"\r" in line or line.count(b'"') % 2:
            raise BadLine(number, f"{line[:60]!r} is not one line of CSV")


def _culprit(lines: Sequence[bytes], reason: str, most: int) -> BadRequest:
    for number, line in enumerate(lines):
        try:
            text = line.decode()
        except UnicodeDecodeError:
            return BadLine(number, f"{line[:60]!r} is not UTF-8")
        if '"' not in text and text.count(",") >= most:
            return BadLine(number, f"{text.count(',') + 1} fields, expected at most {most}")
    return BadRequest(reason)


def _refuse_broken(clean: pl.DataFrame, raw: pl.DataFrame, today: date, data: Declaration) -> None:
    limits = checks.Limits(latest=latest(today))
    table = [rule for rule in checks.rules(limits, data) if rule.columns != (data.id,)]
    broken = clean.select(rule.broken.alias(str(number)) for number, rule in enumerate(table))
    for rule, name in zip(table, broken.columns, strict=True):
        if (line := broken[name].arg_max()) is not None and broken[name][line]:
            found = "-".join(str(raw[column][line]) if raw[column][line] is not None else "" for column in rule.columns)
            raise BadLine(line, f"{'/'.join(rule.columns)} is {found!r}, expected {rule.expected}")


def write(table: pl.DataFrame, state: NDArray[np.float32], fitted: FeatureSchema) -> list[str]:
    """Lines of history for rows of a data set with their `state` [N, S]; the same features come out of them."""
    data = served(fitted.data)
    cells = _cells(table, data)
    raw = {str(number): cells[name] for number, name in enumerate(data.known)}
    raw |= {f"state {number}": state[:, number] for number in range(state.shape[1])}
    made = pl.DataFrame(raw).with_columns(pl.col(pl.String).replace("", None))
    return made.write_csv(include_header=False).splitlines()


def _cells(table: pl.DataFrame, data: Declaration) -> dict[str, Any]:
    """What stands in each column; of several roles of one column the last says it, and keys stand before that."""
    empty = [""] * len(table)
    cells: dict[str, Any] = {data.id: empty} if data.id else {}
    cells |= dict.fromkeys(data.present, [PRESENT] * len(table))
    for name, entity in data.entities.items():
        cells |= _numbered(table[f"{name}_key"], entity) if entity.whole else dict.fromkeys(entity.columns, empty)
    cells |= _times(table["time"], data) | {data.amount.column: _amounts(table["clean_cents"], data)}
    for name, category in data.categories.items():
        cells[category.column] = _category(table[f"clean_{name}"], category)
    for name, number in data.numbers.items():
        cells[number.column] = _numbers(table[f"clean_{name}"], number)
    for name, flags in data.flags.items():
        cells[flags.column] = _flags(table[f"clean_{name}"], flags)
    assert data.label is not None
    words = {1: data.label.fraud[0], 0: next(iter(data.label.good), "")}
    cells[data.label.column] = table["label"].replace_strict(words, default="", return_dtype=pl.String)
    for name, entity in data.entities.items():
        if not entity.whole:
            keys, first = table[f"{name}_key"].to_list(), entity.columns[0]
            cells[first] = [f"key:{name}={k % 2**64:016x};{v}" for k, v in zip(keys, cells[first], strict=True)]
    return cells


def _numbered(keys: pl.Series, entity: Entity) -> dict[str, pl.Series]:
    """The whole numbers that a key is made of."""
    cells, left = {}, keys
    for column, (low, high) in zip(reversed(entity.columns), reversed(entity.whole), strict=True):
        last = column == entity.columns[0]
        cells[column] = left if last else left % (high - low + 1)
        left = left if last else left // (high - low + 1)
    return cells


def _times(times: pl.Series, data: Declaration) -> dict[str, Any]:
    parts = data.time.parts
    if parts is None:
        return {data.time.column: [f"@{second}" for second in times.to_list()]}
    moment = pl.from_epoch(times, time_unit="s").dt.replace_time_zone("UTC").dt.convert_time_zone(data.time.zone)
    form = "%H:%M" if data.time.resolution == "minute" else "%H:%M:%S"
    named = {parts.year: moment.dt.year(), parts.month: moment.dt.month(), parts.day: moment.dt.day()}
    return named | {parts.time: moment.dt.strftime(form)}


def _amounts(cents: pl.Series, data: Declaration) -> list[str]:
    amount, unit = data.amount, 10**data.amount.minor_units
    mark, end = next(iter(amount.prefixes), ""), next(iter(amount.suffixes), "")

    def written(value: int) -> str:
        whole, rest = divmod(abs(value), unit)
        fraction = f"{amount.decimal}{rest:0{amount.minor_units}d}" if amount.minor_units else ""
        return f"{mark}{'-' if value < 0 else ''}{whole}{fraction}{end}"

    return [written(value) for value in cents.to_list()]


def _category(values: pl.Series, category: Category) -> list[str]:
    if category.values:
        return [category.values[code - 1] if code else "" for code in values.to_list()]
    if category.whole:
        return ["" if category.empty and not code else str(code) for code in values.to_list()]
    return [str(value) for value in values.to_list()]


def _numbers(values: pl.Series, number: Number) -> list[str]:
    told = (int(value) if number.whole and not math.isnan(value) else value for value in values.to_list())
    return ["" if math.isnan(value) else repr(value) for value in told]


def _flags(values: pl.Series, flags: Flags) -> list[str]:
    words = (*flags.values, "Something else")
    return [
        flags.separator.join(word for bit, word in enumerate(words) if bits >> bit & 1) for bits in values.to_list()
    ]
