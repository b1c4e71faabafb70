"""One clean value from the fields of a line, by role: what `training.data.parser` says of a column, for plain writing.

Each reader takes a line's fields ("" where empty) and gives the value that the parser's expression gives and the rules
of `training.data.checks` accept, or raises `Unclear`. tests/serving/test_line_reader.py holds them equal.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

from training.data import parser
from training.data.declaration import Amount, Category, Declaration, Flags, Label, Number, Time
from training.graph.days import DAY as DAY

EPOCH = date(1970, 1, 1)
INTEGER = re.compile(r"-?[0-9]{1,19}")
SMALL = re.compile(r"[0-9]{1,4}")
INTEGER_OR_POINT = re.compile(r"-?[0-9]{1,9}(?:\.0*)?")
DECIMAL = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:e-?[0-9]{1,2})?")
CLOCK = re.compile(r"([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?")
ISO = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})(?:[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?(?:\.[0-9]{1,9})?)?Z?")
TOLD_TIME = re.compile(r"@-?[0-9]{1,18}")

Fields = Sequence[str]
Read = Callable[[Fields], Any]


class Unclear(Exception):
    """A line is not written plainly: the batch parser says what it is."""


def readers(data: Declaration) -> Iterator[tuple[str, Read]]:
    """By clean column its reader. Behind the declared fields stands, for each entity with a hashed key, the first of
    its columns as it was written, with the key that it may say.
    """
    place = {column: at for at, column in enumerate(data.known)}
    yield "time", _time(data.time, place)
    yield "cents", partial(_cents, place[data.amount.column], data.amount)
    hashed = iter(range(len(data.known), len(data.known) + len(data.entities)))
    for name, entity in data.entities.items():
        at = [place[column] for column in entity.columns]
        if entity.whole:
            yield f"{name}_key", partial(_whole_key, list(zip(at, entity.whole, strict=True)))
        else:
            yield f"{name}_key", partial(_hashed_key, at, next(hashed), f"key:{name}=", data.salt)
    for name, category in data.categories.items():
        yield name, _category(place[category.column], category)
    for name, number in data.numbers.items():
        yield name, partial(_number, place[number.column], number)
    for name, flags in data.flags.items():
        yield name, _flags(place[flags.column], flags)
    if data.present:
        yield "present", partial(_present, [place[column] for column in data.present])
    assert data.label is not None
    yield "label", _label(place[data.label.column], data.label)


def plainly(condition: object) -> None:
    """Raises `Unclear` unless the condition holds."""
    if not condition:
        raise Unclear


def _time(time: Time, place: dict[str, int]) -> Read:
    """Seconds since the epoch; for zones and formats that the parser alone reads, the texts as a tuple."""
    if time.zone == "UTC" and time.parts is not None:
        return partial(_parts, [place[column] for column in time.columns], time)
    at = [place[column] for column in time.columns]
    if time.parts is not None:
        return lambda fields: tuple(fields[one] for one in at)
    read = {"iso": _iso, "epoch": _epoch}.get(time.format) if time.zone == "UTC" or time.format == "epoch" else None
    return partial(_one_column, at[0], time, read)


def _one_column(at: int, time: Time, read: Callable[[str, Time], int] | None, fields: Fields) -> Any:
    text = fields[at]
    if text.startswith("@"):
        plainly(TOLD_TIME.fullmatch(text))
        return int(text[1:])
    if read is None:
        return (text,)
    made = read(text, time)
    return made - made % 60 if time.resolution == "minute" else made


def _parts(at: Sequence[int], time: Time, fields: Fields) -> int:
    year, month, day, clock = (fields[one] for one in at)
    plainly(SMALL.fullmatch(year) and SMALL.fullmatch(month) and SMALL.fullmatch(day))
    found = CLOCK.fullmatch(clock)
    plainly(found and (found[3] is None or time.resolution == "second"))
    assert found
    return _day(int(year), int(month), int(day)) * DAY + _seconds(*found.groups())


def _day(year: int, month: int, day: int) -> int:
    plainly(parser.FIRST_YEAR <= year <= parser.LAST_YEAR)
    return date(year, month, day).toordinal() - EPOCH.toordinal()


def _seconds(hour: str | None, minute: str | None, second: str | None) -> int:
    hours, minutes, seconds = int(hour or 0), int(minute or 0), int(second or 0)
    plainly(hours <= 23 and minutes <= 59 and seconds <= 59)
    return hours * 3600 + minutes * 60 + seconds


def _iso(text: str, time: Time) -> int:
    found = ISO.fullmatch(text)
    plainly(found)
    assert found
    year, month, day, *clock = found.groups()
    return _day(int(year), int(month), int(day)) * DAY + _seconds(*clock)


def _epoch(text: str, time: Time) -> int:
    plainly(DECIMAL.fullmatch(text))
    began = int(datetime.fromisoformat(time.origin).replace(tzinfo=UTC).timestamp())
    return math.floor(float(text) * time.unit + began)


def _cents(at: int, amount: Amount, fields: Fields) -> int:
    text = fields[at]
    for mark in amount.prefixes:
        text = text.removeprefix(mark).replace(f"-{mark}", "-", 1)
    for mark in amount.suffixes:
        text = text.removesuffix(mark)
    if amount.prefixes or amount.suffixes:
        text = text.strip(" ")
    if amount.thousands:
        mark, point = re.escape(amount.thousands), re.escape(amount.decimal)
        plainly(re.fullmatch(rf"-?(?:[0-9]{{1,3}}(?:{mark}[0-9]{{3}})+|[0-9]+)(?:{point}[0-9]+)?", text))
        text = text.replace(amount.thousands, "")
    if amount.decimal != ".":
        plainly("." not in text)
        text = text.replace(amount.decimal, ".", 1)
    plainly(DECIMAL.fullmatch(text))
    unit = float(10**amount.minor_units)
    minor = round(float(text) * unit)
    plainly(abs(minor) <= round(amount.limit * unit))
    return minor


def _whole_key(parts: Sequence[tuple[int, tuple[int, int]]], fields: Fields) -> int:
    key = 0
    for at, (low, high) in parts:
        plainly(INTEGER.fullmatch(fields[at]))
        value = int(fields[at])
        plainly(low <= value <= high)
        if len(parts) == 1:
            return value
        key = key * (high - low + 1) + value - low
    return key


def _hashed_key(at: Sequence[int], written: int, mark: str, salt: str, fields: Fields) -> int:
    if mark in fields[written]:
        found = re.search(rf"{mark}([0-9a-f]{{16}});", fields[written])
        if found:
            return int.from_bytes(bytes.fromhex(found[1]), "big", signed=True)
    key = parser.key("\x1f".join(fields[one] for one in at), salt)
    plainly(key is not None)
    assert key is not None
    return key


def _category(at: int, category: Category) -> Read:
    if category.values:
        codes = {word: code for code, word in enumerate(category.values, 1) if word}
        return partial(_coded, at, codes | ({"": 0} if category.empty else {}))
    return partial(_whole_category if category.whole else _text_category, at, category)


def _coded(at: int, codes: dict[str, int], fields: Fields) -> int:
    plainly(fields[at] in codes)
    return codes[fields[at]]


def _whole_category(at: int, category: Category, fields: Fields) -> int:
    text = fields[at]
    if not text:
        plainly(category.empty)
        return 0
    plainly(INTEGER_OR_POINT.fullmatch(text))
    value = int(text.partition(".")[0])
    plainly(category.whole[0] <= value <= category.whole[1])
    return value


def _text_category(at: int, category: Category, fields: Fields) -> str:
    plainly(fields[at] or category.empty)
    return fields[at]


def _number(at: int, number: Number, fields: Fields) -> float:
    text = fields[at]
    if not text:
        plainly(number.empty)
        return math.nan
    plainly(DECIMAL.fullmatch(text))
    value = float(text)
    plainly(number.least <= value <= number.most and not (number.whole and value != math.floor(value)))
    return value


def _flags(at: int, flags: Flags) -> Read:
    mark, other = re.escape(flags.separator), 1 << len(flags.values)
    words = [re.compile(rf"(?:^|{mark}) ?{re.escape(word)} ?(?:{mark}|\Z)") for word in flags.values]

    def read(fields: Fields) -> int:
        if not fields[at]:
            return 0
        return sum(1 << bit for bit, word in enumerate(words) if word.search(fields[at])) or other

    return read


def _present(at: Sequence[int], fields: Fields) -> bool:
    plainly(all(fields[one] for one in at))
    return True


def _label(at: int, label: Label) -> Read:
    codes = dict.fromkeys(label.good, 0) | dict.fromkeys(label.fraud, 1) | {"": parser.UNKNOWN}
    return partial(_coded, at, codes)
