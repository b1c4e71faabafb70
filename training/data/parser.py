"""From a file's quirks to clean columns, by the model's declaration: one parser, offline and in the server.

Works on strings and on typed columns alike, and never raises on a value: what cannot be understood becomes null,
which `training.data.checks` then reports with its row. Fields that may be empty get a value of their own, not null.
"""

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any

import polars as pl

from training.data.declaration import Category, Declaration, Entity, Flags, Label, Number, Time
from training.data.presets import preset
from training.graph.days import NEVER as NEVER

FIRST_YEAR, LAST_YEAR = 1970, 2100
VERSION = 3  # of the columns below; cached objects of another version are not read
UNKNOWN = -1  # a label that is not known yet
INT32 = 2**31 - 1
EPOCH = date(1970, 1, 1)
BITS = {pl.UInt8: 8, pl.UInt16: 16, pl.UInt32: 32, pl.Int64: 63}  # what has room for how many flags
ISO = (
    r"^\s*(?<year>\d{4})-(?<month>\d{2})-(?<day>\d{2})(?:[T ](?<hour>\d{2}):(?<minute>\d{2})(?::(?<second>\d{2}))?"
    r"(?:[.,]\d{1,9})?)?\s*(?<zone>Z|UTC|[+-]\d{2}:?\d{2})?\s*$"
)


def raw_schema(data: Declaration) -> dict[str, type[pl.DataType]]:
    """The declared columns as a CSV reader should take them: numbers where they are, which is faster than text."""
    kinds: dict[str, type[pl.DataType]] = dict.fromkeys(data.known, pl.String)
    for number in data.numbers.values():
        kinds[number.column] = pl.Float64
    for category in data.categories.values():
        if category.whole:
            kinds[category.column] = pl.Int32
    if data.time.parts is not None:
        kinds |= dict.fromkeys((data.time.parts.year, data.time.parts.month, data.time.parts.day), pl.Int32)
    for entity in data.entities.values():
        for column, span in zip(entity.columns, entity.whole, strict=False):
            kinds[column] = pl.Int32 if span[0] >= -INT32 and span[1] <= INT32 else pl.Int64
    text = [column for entity in data.entities.values() if not entity.whole for column in entity.columns]
    return kinds | dict.fromkeys(text, pl.String)  # a key is of the text as it is written


RAW_SCHEMA = raw_schema(preset())


def canonical(data: Declaration | None = None, labelled: bool = True) -> dict[str, pl.Expr]:
    """The clean columns by name, as expressions over raw columns.

    `id` Int64 if there is one; `time` Int64 seconds in UTC, or of parts `date` days and `clock` seconds Int32; `cents`
    Int32 or Int64, in minor units; of an entity `<name>_key` Int64, or `<name>_1` … if it is several whole numbers; of
    a category Int8 from 1 (closed), Int32 (whole, 0 if empty) or String ("" if empty); of a number Float64, or Float32
    where it is exact (NaN if empty); of flags bits; `present` Boolean and `label` Int8.
    """
    data = data or preset()
    columns = {"id": _hashed((data.id,), data.salt, "id")} if data.id else {}
    columns |= {**_time(data.time), "cents": _cents(data)}
    for name, entity in data.entities.items():
        columns |= _entity(name, entity, data.salt)
    columns |= {name: _category(one) for name, one in data.categories.items()}
    columns |= {name: _number(one) for name, one in data.numbers.items()}
    columns |= {name: _flags(one) for name, one in data.flags.items()}
    if labelled:
        # These are no feature, but a file is only read in full, stray fields included, if every column is asked for.
        there = [_text(name).is_not_null() for name in data.present]
        columns |= {"present": pl.all_horizontal(there)} if there else {}
        columns |= {"label": _label(data.label)}
    return columns


def keyed(data: Declaration | None = None) -> dict[str, pl.Expr]:
    """What is made of several clean columns: `time` of parts, `<name>_key` of an entity of several whole numbers."""
    data = data or preset()
    several = {name: one for name, one in data.entities.items() if len(one.whole) > 1}
    made = {f"{name}_key": _composed(name, one) for name, one in several.items()}
    return made if data.time.parts is None else {"time": _joined(data.time), **made}


def times(raw: pl.DataFrame, time: Time) -> pl.Series:
    """The clean `time` of raw columns, null where it is none."""
    made = raw.select(**_time(time))
    return (made if time.parts is None else made.select(time=_joined(time)))["time"]


def _joined(time: Time) -> pl.Expr:
    return _universal(pl.col("date").cast(pl.Int64) * 86_400 + pl.col("clock"), time.zone)


def transactions(raw: pl.DataFrame, data: Declaration | None = None) -> pl.DataFrame:
    """Raw transactions without labels as clean columns with keys: what the server begins with."""
    return raw.select(**canonical(data, labelled=False)).with_columns(**keyed(data))


def minute(data: Declaration, column: Callable[[str], Any] = pl.col) -> Any:
    """The minute of the day where the model is at home, from the clean `time`; of another zone always a pl.Expr."""
    if data.time.zone == "UTC":
        return (column("time") % 86_400 // 60).cast(pl.Int32)
    local = pl.from_epoch("time", time_unit="s").dt.replace_time_zone("UTC").dt.convert_time_zone(data.time.zone)
    return local.dt.hour().cast(pl.Int32) * 60 + local.dt.minute().cast(pl.Int32)


def digits(values: Sequence[str | None], salt: str = "") -> int:
    """The 64-bit key, signed, of an entity's values: blake2b with `salt` as its key; "" and null are the same."""
    told = "\x1f".join("" if value is None else _plain(value) for value in values)
    digest = hashlib.blake2b(told.encode(), digest_size=8, key=_salted(salt)).digest()
    return int.from_bytes(digest, "big", signed=True)


def _salted(salt: str) -> bytes:
    body = salt.encode()
    return body if len(body) <= 64 else hashlib.blake2b(body).digest()


def _plain(value: str) -> str:
    """`12` for `12.0`: pandas writes a column of numbers that has gaps like this."""
    whole, point, rest = value.partition(".")
    return whole if point and rest and not rest.strip("0") and whole.lstrip("-").isdigit() else value


def _text(name: str) -> pl.Expr:
    """A column as text; an empty one is null."""
    text = pl.col(name).cast(pl.String)
    return pl.when(text != "").then(text)


def _is_empty(name: str) -> pl.Expr:
    """Whether a number is missing: a column that is read as numbers, or as text without "", has null there."""
    return pl.col(name).is_null()


def _hashed(columns: Sequence[str], salt: str, what: str) -> pl.Expr:
    """The key of each row's values; null if all are empty."""
    joined = pl.concat_str([pl.col(name).cast(pl.String).fill_null("") for name in columns], separator="\x1f")
    key = joined.map_batches(lambda texts: _keys(texts, salt), return_dtype=pl.Int64, is_elementwise=True)
    return key.alias(what)


def _keys(texts: pl.Series, salt: str) -> pl.Series:
    different = texts.unique()
    keys = [key(text, salt) for text in different.to_list()]
    return texts.replace_strict(different, pl.Series(keys, dtype=pl.Int64), return_dtype=pl.Int64)


def key(text: str | None, salt: str) -> int | None:
    """The key of an entity's values, joined by `\\x1f`; None if all of them are empty."""
    values = (text or "").split("\x1f")
    return digits(values, salt) if any(values) else None


def _entity(name: str, entity: Entity, salt: str) -> dict[str, pl.Expr]:
    if not entity.whole:
        return {f"{name}_key": _hashed(entity.columns, salt, f"{name}_key")}
    if len(entity.columns) == 1:
        return {f"{name}_key": pl.col(entity.columns[0]).cast(pl.Int64, strict=False)}
    return {
        f"{name}_{number}": pl.col(column).cast(pl.Int64, strict=False)
        for number, column in enumerate(entity.columns, 1)
    }


def _composed(name: str, entity: Entity) -> pl.Expr:
    key = pl.lit(0, dtype=pl.Int64)
    for number, (low, high) in enumerate(entity.whole, 1):
        key = key * (high - low + 1) + pl.col(f"{name}_{number}") - low
    return key


def _category(category: Category) -> pl.Expr:
    if category.values:
        code = pl.lit(None, dtype=pl.Int8)
        text = pl.col(category.column).cast(pl.String)
        for number, word in enumerate(category.values, 1):
            code = pl.when(text == word).then(pl.lit(number, dtype=pl.Int8)).otherwise(code)
        empty = pl.when(text.is_null() | (text == "")).then(pl.lit(0, dtype=pl.Int8))
        return empty.otherwise(code) if category.empty else code
    if category.whole:
        whole = _whole(category.column)
        return pl.when(_is_empty(category.column)).then(0).otherwise(whole) if category.empty else whole
    text = pl.col(category.column).cast(pl.String)
    return text.fill_null("") if category.empty else _text(category.column)


def _whole(name: str) -> pl.Expr:
    """An integer that may be written as `91750.0`; null if it has a fraction or is none."""
    number = pl.col(name).cast(pl.Float64, strict=False)
    return pl.when(number == number.floor()).then(number).cast(pl.Int32, strict=False)


def _number(number: Number) -> pl.Expr:
    value = pl.col(number.column).cast(pl.Float64, strict=False)
    value = pl.when(value.is_between(number.least, number.most)).then(value)
    if number.whole:
        value = pl.when(value == value.floor()).then(value)
    if number.empty:
        value = pl.when(_is_empty(number.column)).then(pl.lit(math.nan)).otherwise(value)
    exact = number.whole and max(abs(number.least), abs(number.most)) <= 2**24
    return value.cast(pl.Float32) if exact else value


def _flags(flags: Flags) -> pl.Expr:
    """The known words of a list as bits; the bit above them says that there is a list, and none of its words known."""
    text, mark = pl.col(flags.column).cast(pl.String), re.escape(flags.separator)
    kind = next(kind for kind, size in BITS.items() if len(flags.values) < size)
    bits = pl.lit(0, dtype=kind)
    for bit, word in enumerate(flags.values):
        there = text.str.contains(rf"(?:^|{mark}) ?{re.escape(word)} ?(?:{mark}|$)")
        bits = bits | pl.when(there).then(1 << bit).otherwise(0).cast(kind)
    other = 1 << len(flags.values)
    return pl.when(text.is_null() | (text == "")).then(0).when(bits == 0).then(other).otherwise(bits).cast(kind)


def _label(label: Label | None) -> pl.Expr:
    """1 fraud, 0 good, `UNKNOWN`, or null for a word that is neither."""
    if label is None:
        return pl.lit(UNKNOWN, dtype=pl.Int8)
    text = _text(label.column)
    known = pl.when(text.is_in(list(label.fraud))).then(1).when(text.is_in(list(label.good))).then(0)
    return (known.when(text.is_null()).then(UNKNOWN) if label.empty else known).cast(pl.Int8)


def _cents(data: Declaration) -> pl.Expr:
    """`$-12.05`, `-12.05` and `-$12.05` are -1205; what is not finite or has no room becomes null."""
    amount = data.amount
    text = pl.col(amount.column).cast(pl.String)
    for mark in amount.prefixes:
        text = text.str.strip_prefix(mark).str.replace(f"-{mark}", "-", literal=True)
    for mark in amount.suffixes:
        text = text.str.strip_suffix(mark)
    if amount.prefixes or amount.suffixes:
        text = text.str.strip_chars()
    if amount.thousands:  # 1.5 is not 15, whatever the dot is declared to be
        mark, point = re.escape(amount.thousands), re.escape(amount.decimal)
        grouped = text.str.contains(rf"^-?(\d{{1,3}}({mark}\d{{3}})+|\d+)({point}\d+)?$")
        text = pl.when(grouped).then(text.str.replace_all(amount.thousands, "", literal=True))
    if amount.decimal != ".":
        text = pl.when(~text.str.contains(".", literal=True)).then(text.str.replace(amount.decimal, ".", literal=True))
    minor = text.cast(pl.Float64, strict=False) * float(10**amount.minor_units)
    narrow = amount.limit * 10**amount.minor_units < INT32
    return minor.round().cast(pl.Int32 if narrow else pl.Int64, strict=False)


def _time(time: Time) -> dict[str, pl.Expr]:
    """`time`, seconds since the epoch in UTC; of parts `date`, days, and `clock`, seconds since midnight."""
    if time.parts is not None:
        day = _date(*(pl.col(name) for name in (time.parts.year, time.parts.month, time.parts.day)))
        return {"date": day, "clock": _clock(time)}
    return {"time": moment(time)}


def moment(time: Time) -> pl.Expr:
    """Seconds since the epoch in UTC, of a time in one column."""
    made = _written(time, pl.col(time.column).cast(pl.String).str.strip_chars())
    return made - made % 60 if time.resolution == "minute" else made


def _written(time: Time, text: pl.Expr) -> pl.Expr:
    if time.format == "epoch":
        began = int(datetime.fromisoformat(time.origin).replace(tzinfo=UTC).timestamp())
        number = text.cast(pl.Float64, strict=False)
        return (number * time.unit + began).floor().cast(pl.Int64, strict=False)
    if time.format == "iso":
        return iso(text, time.zone)
    aware = "%z" in time.format
    read = text.str.to_datetime(time.format, time_unit="us", strict=False, time_zone="UTC" if aware else None)
    seconds = read.dt.epoch("s")
    return seconds if aware else _universal(seconds, time.zone)


def iso(text: pl.Expr, zone: str) -> pl.Expr:
    """Seconds since the epoch of ISO 8601 in text; one that does not say its zone is of `zone`."""
    found = text.str.extract_groups(ISO).struct
    day = _date(*(found.field(name) for name in ("year", "month", "day"))).cast(pl.Int64)
    parts = {name: found.field(name).cast(pl.Int64, strict=False).fill_null(0) for name in ("hour", "minute", "second")}
    inside = (parts["hour"] <= 23) & (parts["minute"] <= 59) & (parts["second"] <= 59)
    local = day * 86_400 + parts["hour"] * 3600 + parts["minute"] * 60 + parts["second"]
    local = pl.when(inside).then(local)
    said = found.field("zone")
    offset = said.str.replace(":", "", literal=True)
    ahead = offset.str.slice(1, 2).cast(pl.Int64, strict=False) * 3600
    ahead = ahead + offset.str.slice(3, 2).cast(pl.Int64, strict=False) * 60
    ahead = pl.when(offset.str.starts_with("-")).then(-ahead).otherwise(ahead)
    zoned = pl.when(said.is_in(["Z", "UTC"])).then(local).otherwise(local - ahead)
    return pl.when(said.is_null()).then(_universal(local, zone)).otherwise(zoned)


def _universal(local: pl.Expr, zone: str) -> pl.Expr:
    """Of an hour that comes twice the first; one that does not exist is null."""
    if zone == "UTC":
        return local
    there = pl.from_epoch(local, time_unit="s").dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    return there.dt.epoch("s")


def _clock(time: Time) -> pl.Expr:
    """`HH:MM`, or also `HH:MM:SS`, as seconds since midnight."""
    assert time.parts is not None
    text = pl.col(time.parts.time).cast(pl.String)
    hour, minutes = (text.str.slice(at, 2).cast(pl.Int32, strict=False) for at in (0, 3))
    inside = hour.is_between(0, 23) & minutes.is_between(0, 59) & (text.str.slice(2, 1) == ":")
    short = pl.when((text.str.len_bytes() == 5) & inside).then((hour * 60 + minutes) * 60)
    if time.resolution == "minute":
        return short
    second = text.str.slice(6, 2).cast(pl.Int32, strict=False)
    written = (text.str.len_bytes() == 8) & (text.str.slice(5, 1) == ":") & second.is_between(0, 59)
    return short.when(written & inside).then((hour * 60 + minutes) * 60 + second)


def _date(*columns: pl.Expr) -> pl.Expr:
    """Days since the epoch by table: polars' own constructor raises on 31 February instead of saying null."""
    year, month, day = (column.cast(pl.Int32, strict=False) for column in columns)
    inside = year.is_between(FIRST_YEAR, LAST_YEAR) & month.is_between(1, 12) & day.is_between(1, 31)
    slot = ((year - FIRST_YEAR) * 12 + month - 1) * 31 + day - 1
    return pl.lit(_DAYS).gather(pl.when(inside).then(slot))


def _days() -> pl.Series:
    epoch = date(1970, 1, 1).toordinal()
    slots = ((y, m, d) for y in range(FIRST_YEAR, LAST_YEAR + 1) for m in range(1, 13) for d in range(1, 32))
    return pl.Series([_ordinal(*slot, epoch) for slot in slots], dtype=pl.Int32)


def _ordinal(year: int, month: int, day: int, epoch: int) -> int | None:
    try:
        return date(year, month, day).toordinal() - epoch
    except ValueError:
        return None


_DAYS = _days()
