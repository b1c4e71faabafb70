"""What the columns of an unknown file look like: which role each seems to have, why, and the table that declares them.

It looks at the first rows only and guesses; `fraudloop data check` and the loop judge by what a person then declares.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from training.data import parser
from training.data.declaration import Category, Declaration, Time, slug
from training.data.file_reader import all_text
from training.data.presets import DEFAULT, PRESETS, preset
from training.data.unpacking import Unreadable

ROWS, COLUMNS = 20_000, 1000  # that are looked at
MAX_KINDS = 200  # different values that a category may have
EXAMPLE = 30  # characters of a value that are shown
FORMATS = (
    *("%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%m/%d/%Y %I:%M:%S %p"),
    *("%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%Y/%m/%d %H:%M:%S", "%Y%m%d%H%M%S", "%d/%m/%Y", "%m/%d/%Y", "%Y%m%d"),
)
FRAUD, GOOD = (
    ("1", "1.0", "yes", "y", "true", "t", "fraud"),
    ("0", "0.0", "no", "n", "false", "f", "good", "genuine", "legit"),
)
WHO = (
    r"card|cc_?num|customer|client|user|account|acct|iban|merchant|terminal|device|payee|payer|nameorig|namedest"
    r"|email|ip$"
)
PERSONAL = r"^(first|last|street|dob|name|phone|ssn|address)"


@dataclass(frozen=True)
class Seen:
    """One column of the first rows: `role` as it seems, `why`, and what the declaration would say of it."""

    name: str
    role: str
    why: str
    example: str = ""
    said: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Inspected:
    """What was found: the columns, the table to paste as a mapping, and what is still missing for a declaration."""

    rows: int
    columns: tuple[Seen, ...]
    table: Mapping[str, Any]
    missing: tuple[str, ...]


def inspect(file: Path, scratch: Path) -> Inspected:
    """Guesses the roles of a file's columns.

    Raises:
        Unreadable: it is no table at all, or has too many columns.
    """
    rows = all_text(file, scratch)
    if (count := len(rows.collect_schema())) > COLUMNS:
        raise Unreadable(0, "", f"{count:,} columns", f"at most {COLUMNS:,}; keep those that tell of a transaction")
    text = rows.head(ROWS).collect()
    known = next((name for name in PRESETS if set(preset(name).known) <= set(text.columns)), None)
    if known is not None:
        return _known(text, known)
    columns = [_seen(text[name]) for name in text.columns]
    columns = _settled(columns)
    table = _table(columns)
    missing = tuple(role for role in ("time", "amount", "entities") if role not in table)
    return Inspected(len(text), tuple(columns), table, missing)


def toml(table: Mapping[str, Any], under: str = "data") -> str:
    """A declaration as TOML, to paste."""
    plain = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    lines = [f"[{under}]", *(f"{_key(key)} = {_value(value)}" for key, value in plain.items())]
    inner = [toml(value, f"{under}.{_key(key)}") for key, value in table.items() if isinstance(value, Mapping)]
    return "\n".join([*(lines if plain or not inner else []), *inner])


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    return str(value).lower() if isinstance(value, bool) else json.dumps(value, ensure_ascii=False)


# -- a preset, perhaps with changes ---------------------------------------------------------------------------------


def _known(text: pl.DataFrame, name: str) -> Inspected:
    data = preset(name)
    changes = {key: value for key, value in _changes(text, data).items() if value}
    table = changes if name == DEFAULT and changes else {"preset": name, **changes}
    columns = tuple(_role_in(column, data, text[column]) for column in text.columns)
    return Inspected(len(text), columns, table, ())


def _role_in(column: str, data: Declaration, values: pl.Series) -> Seen:
    roles = ["id"] if column == data.id else []
    roles += ["time"] if column in data.time.columns else []
    roles += ["amount"] if column == data.amount.column else []
    roles += [f"entities.{name}" for name, one in data.entities.items() if column in one.columns]
    parts = (("categories", data.categories), ("numbers", data.numbers), ("flags", data.flags))
    roles += [f"{part}.{name}" for part, named in parts for name, one in named.items() if one.column == column]
    roles += ["label"] if data.label and column == data.label.column else []
    roles += ["present"] if column in data.present else []
    return Seen(column, ", ".join(roles) or "ignore", "the preset says so", _example(values))


def _changes(text: pl.DataFrame, data: Declaration) -> dict[str, Any]:
    """What must differ from the preset for these rows to be read."""
    whole = [(name, column) for name, one in data.entities.items() if one.whole for column in one.columns]
    hashed: dict[str, Any] = {
        name: {"whole": []}
        for name, column in whole
        if not _all(text[column], lambda c: c.cast(pl.Int64, strict=False))
    }
    kinds = {name: {"empty": True} for name, one in data.categories.items() if _gaps(text[one.column], one)}
    numbers = {n: {"empty": True} for n, one in data.numbers.items() if not one.empty and text[one.column].null_count()}
    changes: dict[str, Any] = {"entities": hashed, "categories": kinds, "numbers": numbers}
    parts = data.time.parts
    if parts and data.time.resolution == "minute" and (text[parts.time].str.len_bytes() == 8).any():
        changes["time"] = {"resolution": "second"}
    changes["amount"] = _amount_change(text[data.amount.column], data)
    if data.label:
        changes["label"] = _label_change(text[data.label.column], data)
    return changes


def _gaps(values: pl.Series, one: Category) -> bool:
    return not one.empty and values.null_count() > 0


def _amount_change(values: pl.Series, data: Declaration) -> dict[str, Any]:
    frame = pl.DataFrame({data.amount.column: values})
    most = round(data.amount.limit * 10**data.amount.minor_units)
    read = frame.select(parser.canonical(data)["cents"].is_between(-most, most).fill_null(False).all()).item()
    found = None if read else _amount(values)
    if found is None:
        return {}
    given = {"prefixes": [], **found}
    numbers = _numbers(values, found)
    highest = float(numbers.abs().max() or 0)  # type: ignore[arg-type]
    if highest > data.amount.limit:
        given["limit"] = 10 ** len(str(int(highest)))
        given |= {"minor_units": 0} if (numbers == numbers.floor()).all() else {}
    return given


def _label_change(values: pl.Series, data: Declaration) -> dict[str, Any]:
    assert data.label is not None
    words = values.drop_nulls().unique().to_list()
    change: dict[str, Any] = {"empty": True} if values.null_count() and not data.label.empty else {}
    if set(words) <= {*data.label.fraud, *data.label.good}:
        return change
    found = _label(values)
    return change | ({} if found is None else {"fraud": found["fraud"], "good": found["good"]})


# -- columns that nobody has told of --------------------------------------------------------------------------------


def _seen(values: pl.Series) -> Seen:
    name, there = values.name, values.drop_nulls()
    example, different = _example(values), there.n_unique()
    if not len(there):
        return Seen(name, "ignore", "it is empty")
    for guess in (_as_label, _as_time, _as_amount, _as_entity, _as_kind):
        found = guess(values, there, different)
        if found is not None:
            return Seen(name, *found[:2], example, found[2])
    return Seen(name, "ignore", f"{different} different texts in {len(there)} rows, and no role by its name", example)


Guess = tuple[str, str, dict[str, Any]]


def _as_label(values: pl.Series, there: pl.Series, different: int) -> Guess | None:
    found = _label(values) if re.search(r"fraud|label|class|chargeback|target", values.name, re.I) else None
    return None if found is None else ("label", f"its name, and the words {_listed(there)}", found)


def _as_time(values: pl.Series, there: pl.Series, different: int) -> Guess | None:
    column = values.name
    named = re.search(r"time|date|_?dt$|^ts$|step|when|stamp", column, re.I)
    for form in ("iso", *(FORMATS if named else ())):
        if _reads(there, Time(column, format=form)):
            return "time", f"{'ISO 8601' if form == 'iso' else form}", {"column": column, "format": form}
    numbers = there.cast(pl.Float64, strict=False)
    if numbers.null_count() or not named:
        return None
    low, high = float(numbers.min()), float(numbers.max())  # type: ignore[arg-type]
    for unit, word in ((1, "seconds"), (0.001, "milliseconds")):
        if low * unit >= 1e8 and high * unit <= 4.1e9:
            return "time", f"{word} since 1970", {"column": column, "format": "epoch", "unit": unit}
    if low >= 0 and numbers.is_sorted():
        why = "its name, and numbers that only rise; origin and unit are yours to say"
        return "time", why, {"column": column, "format": "epoch", "unit": 1, "origin": "2019-01-01"}
    return None


def _as_amount(values: pl.Series, there: pl.Series, different: int) -> Guess | None:
    found = _amount(there) if re.search(r"amount|amt|value$|betrag|montant|sum$|price", values.name, re.I) else None
    return None if found is None else ("amount", "its name, and numbers", {"column": values.name, **found})


def _as_entity(values: pl.Series, there: pl.Series, different: int) -> Guess | None:
    name, rows = values.name, len(there)
    if re.search(r"(^|_)(id|num|no|nr|number|key|uuid)$|id$", name, re.I) and different == len(values) > 1:
        return "id", "each row has its own", {}
    if re.search(WHO, name, re.I) and different > 1:
        return "entities", f"its name; {different} different in {rows} rows", {"columns": [name]}
    if re.search(r"(_|^)id$", name, re.I) and 1 < different < rows:
        return "entities", f"an id that comes again; {different} different in {rows} rows", {"columns": [name]}
    return None


def _as_kind(values: pl.Series, there: pl.Series, different: int) -> Guess | None:
    gaps = {"empty": True} if values.null_count() else {}
    if re.search(PERSONAL, values.name, re.I) or different == 1 or not values.name:
        return (
            "ignore",
            "it says who a person is" if different > 1 and values.name else "it is the same in all rows",
            {},
        )
    numbers = there.cast(pl.Float64, strict=False)
    if not numbers.null_count() and numbers.is_finite().all():
        low, high = float(numbers.min()), float(numbers.max())  # type: ignore[arg-type]
        far = {"log": True} if max(abs(low), abs(high)) > 1000 else {}
        return "numbers", f"numbers from {low:g} to {high:g}", {"column": values.name, **far, **gaps}
    if different <= MAX_KINDS and different < len(there) / 2:
        return "categories", f"{different} different texts", {"column": values.name, **gaps}
    return None


def _settled(columns: Sequence[Seen]) -> list[Seen]:
    """One time, amount, label and id, and at most four entities; others of the kind are left out."""
    most, found = {"time": 1, "amount": 1, "label": 1, "id": 1, "entities": 4}, dict.fromkeys(("", "ignore"), 0)
    settled = []
    # ISO is surer than a number, whichever comes first.
    surest = next((c.name for c in columns if c.role == "time" and c.said["format"] != "epoch"), None)
    for column in columns:
        found[column.role] = found.get(column.role, 0) + 1
        second = found[column.role] > most.get(column.role, len(columns))
        if column.role == "time" and surest is not None:
            second = column.name != surest
        settled.append(
            Seen(column.name, "ignore", f"{column.role} is told by another column", column.example)
            if second
            else column
        )
    return settled


def _table(columns: Sequence[Seen]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for column in columns:
        match column.role:
            case "id":
                table["id"] = column.name
            case "time" | "amount" | "label":
                table[column.role] = dict(column.said)
            case "ignore":
                table.setdefault("ignore", []).append(column.name)
            case role:
                table.setdefault(role, {})[_word(column.name)] = dict(column.said)
    return table


def _word(name: str) -> str:
    word = slug(name)[:30]
    return (
        word
        if word[:1].isalpha() and word not in ("time", "amount", "label", "split", "id", "row")
        else f"c_{word}"[:30]
    )


def _reads(there: pl.Series, time: Time) -> bool:
    made = pl.DataFrame({time.column: there}).select(parser.moment(time)).to_series()
    return made.null_count() == 0 and bool((made >= 0).all())


def _amount(values: pl.Series) -> dict[str, Any] | None:
    """Prefix or suffix and separators of amounts; None if they are no numbers."""
    there = values.drop_nulls().str.strip_chars()
    parts = there.str.extract_groups(
        r"^(?<a>-?)(?<before>[^\d.,-]*)(?<b>-?)(?<number>[\d.,]+)(?<behind>[^\d]*)$"
    ).struct
    number = parts.field("number")
    if not len(there) or number.null_count():
        return None
    marks = {key: _marks(parts.field(name)) for key, name in (("prefixes", "before"), ("suffixes", "behind"))}
    comma = bool(number.str.contains(r",\d{1,2}$").any()) and not number.str.contains(r"\.\d{1,2}$").any()
    _decimal, other = (",", ".") if comma else (".", ",")
    said = {"thousands": other} if number.str.contains(other, literal=True).any() else {}
    return {key: value for key, value in marks.items() if value} | ({"decimal": ","} if comma else {}) | said


def _numbers(values: pl.Series, found: Mapping[str, Any]) -> pl.Series:
    plain = values.str.replace_all(r"[^\d.,-]", "").str.replace_all(str(found.get("thousands", "\0")), "", literal=True)
    return (
        plain.str.replace(str(found.get("decimal", ".")), ".", literal=True).cast(pl.Float64, strict=False).fill_null(0)
    )


def _marks(texts: pl.Series) -> list[str]:
    return sorted(mark for mark in texts.drop_nulls().unique().to_list() if mark.strip())


def _label(values: pl.Series) -> dict[str, Any] | None:
    words = sorted(values.drop_nulls().unique().to_list())
    if not 1 <= len(words) <= 4 or not all(word.lower() in FRAUD + GOOD for word in words):
        return None
    fraud = [word for word in words if word.lower() in FRAUD]
    good = [word for word in words if word.lower() in GOOD]
    other = {"0": "1", "No": "Yes", "no": "yes", "false": "true", "False": "True", "N": "Y"}
    said = {"column": values.name, "fraud": fraud or [other.get(good[0], "1")], "good": good}
    return said | ({"empty": True} if values.null_count() else {})


def _all(values: pl.Series, read: Callable[[pl.Series], pl.Series]) -> bool:
    return read(values).null_count() == values.null_count()


def _listed(there: pl.Series) -> str:
    return ", ".join(sorted(there.unique().to_list()))


def _example(values: pl.Series) -> str:
    there: Iterator[str] = iter(values.drop_nulls().head(1).to_list())
    return next(there, "")[:EXAMPLE]
