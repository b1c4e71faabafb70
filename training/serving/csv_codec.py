"""Raw transactions as lines of text, and back: what the served model reads, and what a client or golden request says.

A line is a row of a TabFormer file: the columns of `RAW_SCHEMA` in order, separated by commas, quoted where CSV asks
for it. The last one, `Is Fraud?`, is Yes, No or empty, and may be left out. A line of history goes on with the `STATE`
that the server answered when that transaction was scored.
"""

import io
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.data import checks, parser, schema
from training.data.parser import LABEL, RAW_SCHEMA
from training.data.schema import FeatureSchema
from training.graph.velocity import STATE

RAW = tuple(RAW_SCHEMA)
COLUMNS = (*RAW, *STATE)
HEADER = ",".join(COLUMNS).encode()
CITY = "Somewhere"  # a data set does not keep cities: no feature is made of them


class BadRequest(ValueError):
    """A request cannot be answered; the message says what is wrong in it, where, and what was expected."""


class BadLine(BadRequest):
    """One line is wrong."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line


def parse(lines: Sequence[bytes], today: date) -> pl.DataFrame:
    """Clean columns of raw lines, with `time`, `card_key`, `label` (null where empty) and `STATE` (null where unclear).

    Raises:
        BadLine: the number of the first line that is wrong, and why.
    """
    raw = _read(lines)
    state = {name: pl.col(name).cast(pl.Float64, strict=False).cast(pl.Float32) for name in STATE}
    clean = raw.select(**parser.canonical(), **state).with_columns(**parser.keyed())
    _refuse_broken(clean, raw, today)
    return clean


def _read(lines: Sequence[bytes]) -> pl.DataFrame:
    for number, line in enumerate(lines):
        if not line or b"\n" in line or b"\r" in line or line.count(b'"') % 2:
            raise BadLine(number, f"{line[:60]!r} is not one line of CSV")
    text = dict.fromkeys(COLUMNS, pl.String)
    body = b"\n".join([HEADER, *lines])  # with a header, a line that is shorter ends in nulls
    try:
        raw = pl.read_csv(io.BytesIO(body), schema=text)
    except pl.exceptions.PolarsError as error:
        raise _culprit(lines, str(error).partition("\n")[0]) from error
    if len(raw) != len(lines):
        raise BadRequest(f"{len(lines)} lines were read as {len(raw)} transactions")
    return raw.with_columns(pl.all().replace("", None))  # a quoted empty cell is an empty cell


def _culprit(lines: Sequence[bytes], reason: str) -> BadRequest:
    for number, line in enumerate(lines):
        try:
            text = line.decode()
        except UnicodeDecodeError:
            return BadLine(number, f"{line[:60]!r} is not UTF-8")
        if '"' not in text and text.count(",") >= len(COLUMNS):
            return BadLine(number, f"{text.count(',') + 1} fields, expected at most {len(COLUMNS)}")
    return BadRequest(reason)


def _refuse_broken(clean: pl.DataFrame, raw: pl.DataFrame, today: date) -> None:
    # Clocks differ: a transaction of tomorrow may be today's elsewhere.
    table = [rule for rule in checks.rules(checks.Limits(latest=today + timedelta(days=1))) if rule.columns != (LABEL,)]
    present = raw[LABEL].is_not_null()
    broken = clean.select(rule.broken.alias(str(number)) for number, rule in enumerate(table))
    broken = broken.with_columns(label=present & clean["label"].is_null())
    for name in broken.columns:
        if (line := broken[name].arg_max()) is not None and broken[name][line]:
            columns, expected = ((LABEL,), "Yes, No or empty") if name == "label" else _columns(table[int(name)])
            found = "-".join(str(raw[column][line]) if raw[column][line] is not None else "" for column in columns)
            raise BadLine(line, f"{'/'.join(columns)} is {found!r}, expected {expected}")


def _columns(rule: checks.Rule) -> tuple[tuple[str, ...], str]:
    return rule.columns, rule.expected


def write(table: pl.DataFrame, state: NDArray[np.float32], fitted: FeatureSchema) -> list[str]:
    """Lines of history for rows of a data set with their `state` [N, S]; the same features come out of them."""
    minute = table["time"] // 60
    day = pl.Series(minute // 1440).cast(pl.Int32).cast(pl.Date)
    raw: dict[str, Any] = {
        "User": table["card_key"] // parser.CARDS_PER_USER,
        "Card": table["card_key"] % parser.CARDS_PER_USER,
        "Year": day.dt.year(),
        "Month": day.dt.month(),
        "Day": day.dt.day(),
        "Time": [f"{m // 60:02d}:{m % 60:02d}" for m in (minute % 1440).to_list()],
        "Amount": [f"${cents / 100:.2f}" for cents in _cents(table["amount_log"].to_numpy()).tolist()],
        "Use Chip": _channels(table),
        "Merchant Name": table["merchant_key"],
        "Merchant City": ["ONLINE" if online else CITY for online in table["online"].to_list()],
        "Merchant State": _states(table, fitted),
        "Zip": _zips(table),
        "MCC": (table["mcc_code"].cast(pl.Float64) * 1000).round().cast(pl.Int32),
        "Errors?": _errors(table),
        LABEL: table["label"].replace_strict({1: "Yes", 0: "No"}, default="", return_dtype=pl.String),
    }
    raw |= {name: state[:, number] for number, name in enumerate(STATE)}
    cells = pl.DataFrame(raw).with_columns(pl.col(pl.String).replace("", None))
    return cells.write_csv(include_header=False).splitlines()


def _cents(amount_log: NDArray[np.float32]) -> NDArray[np.int64]:
    """The amount whose feature is exactly this one: float32 has forgotten some cents of a large amount."""
    near = np.rint(np.sign(amount_log) * np.expm1(np.abs(amount_log.astype(np.float64))) * 100).astype(np.int64)
    best: NDArray[np.int64] = near.copy()
    for step in (3, -3, 2, -2, 1, -1, 0):
        dollars = (near + step) / 100
        feature = (np.sign(dollars) * np.log1p(np.abs(dollars))).astype(np.float32)
        best = np.where(feature == amount_log, near + step, best)
    return best


def _channels(table: pl.DataFrame) -> list[str]:
    words = parser.CHANNELS
    return [words[int(np.argmax(row))] for row in table.select("swipe", "chip", "online").rows()]


def _states(table: pl.DataFrame, fitted: FeatureSchema) -> list[str]:
    """A state with the row's share and risk; if train has not seen it, one that it cannot have seen."""
    encoding = fitted.encodings["state"]
    names = {_f32(*pair): name for name, *pair in zip(encoding.values, encoding.share, encoding.risk, strict=True)}
    rows = table.select("state_share", "state_risk", "no_state", "foreign").rows()
    return [_state(names.get(_f32(*row[:2])), bool(row[2]), bool(row[3])) for row in rows]


def _state(name: str | None, empty: bool, foreign: bool) -> str:
    if name is not None and (name == "") == empty and (len(name.encode()) > 2) == foreign:
        return name
    return "" if empty else "Nowhere at all" if foreign else "??"


def _f32(*values: float) -> tuple[float, ...]:
    return tuple(float(np.float32(value)) for value in values)


def _zips(table: pl.DataFrame) -> list[str]:
    codes = (table["zip"].cast(pl.Float64) * 10_000).round().cast(pl.Int64).to_list()
    empty = table["no_zip"].to_list()
    return ["" if none else f"{code}.0" for code, none in zip(codes, empty, strict=True)]


def _errors(table: pl.DataFrame) -> list[str]:
    words = (*parser.ERRORS, "Something else")
    return [",".join(w for w, bit in zip(words, row, strict=True) if bit) for row in table.select(schema.ERRORS).rows()]
