"""A model's declaration from its `data` table: a preset with changes, or all of it; messages name the key."""

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from statemachine.contracts.errors import Misconfigured
from statemachine.contracts.tables import read_table
from training.data.declaration import MAX_ENTITIES, MAX_FLAGS, RESERVED, WORD, Declaration
from training.data.presets import DEFAULT, PRESETS, preset


def declared(table: Mapping[str, Any], where: str = "data") -> Declaration:
    """The declaration of a table. `preset` names what it begins with.

    Without one it is whole if it names a column of its own for time, amount or an entity; else it changes tabformer.
    A table within the preset is changed key by key; `false` in place of one takes it out.

    Raises:
        Misconfigured: a key is unknown, missing or senseless; the message names it.
    """
    if not isinstance(table, Mapping):
        raise Misconfigured(f"{where} is {table!r}; it takes a table")
    given = {key: value for key, value in table.items() if key != "preset"}
    base = table.get("preset", None if _is_whole(given) else DEFAULT)
    if base is not None and base not in PRESETS:
        raise Misconfigured(f"{where}.preset is {base!r}; known are {', '.join(PRESETS)}")
    merged = _merged(PRESETS[base] if base else {}, given)
    made = read_table(Declaration, merged, where)
    if base and "features" not in given and made.features:
        made = replace(made, features=_changed(preset(base), made))
    for problem in _problems(made):
        raise Misconfigured(f"{where}.{problem}")
    return made


def _is_whole(table: Mapping[str, Any]) -> bool:
    time, amount, entities = (table.get(role) for role in ("time", "amount", "entities"))
    who = list(entities.values()) if isinstance(entities, Mapping) else []
    named = [key for part in (time, amount, *who) if isinstance(part, Mapping) for key in part]
    return not {"column", "columns", "parts"}.isdisjoint(named)


def table_of(source: str) -> dict[str, Any]:
    """The `data` table that a preset's name or a TOML file gives; the file may hold it alone or under `[data]`.

    Raises:
        Misconfigured: it is neither.
    """
    if source in PRESETS:
        return {"preset": source}
    try:
        read = tomllib.loads(Path(source).read_text())
    except OSError as error:
        known = ", ".join(PRESETS)
        raise Misconfigured(f"{source!r} is no preset ({known}) and no file: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{source} is not TOML: {error}") from error
    table = read.get("data", read)
    return table if isinstance(table, dict) else {"data": table}


def _changed(base: Declaration, made: Declaration) -> tuple[str, ...]:
    """The preset's features in its order, without those that are gone, and then those that the changes bring."""
    new = [name for name in made.derived if name not in base.derived]
    return (*(name for name in made.features if name in made.derived), *new)


def _merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(base)
    for key, value in change.items():
        former = made.get(key)
        if value is False and (isinstance(former, Mapping) or key in ("id", "label")):
            made.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(former, Mapping):
            made[key] = _merged(former, value)
        else:
            made[key] = value
    return made


def _problems(data: Declaration) -> Iterator[str]:
    yield from _names(data)
    yield from _time(data)
    yield from _amount(data)
    yield from _entities(data)
    yield from _categories(data)
    yield from _measures(data)
    if data.label and (not data.label.fraud or set(data.label.fraud) & set(data.label.good)):
        yield "label: fraud and good are two lists of words that have none in common, and fraud has at least one"
    twice = [name for name, times in Counter(data.derived).items() if times > 1]
    if twice:
        yield f"features: {', '.join(twice)} would be there twice; rename what gives it"
    if unknown := sorted(set(data.features) - set(data.derived)):
        yield f"features: unknown {', '.join(unknown)}; the roles give {', '.join(data.derived)}"
    if data.features and "amount_log" not in data.features:
        yield "features: amount_log is missing; the velocity of amounts is made of it"


def _names(data: Declaration) -> Iterator[str]:
    for part in ("entities", "categories", "numbers", "flags"):
        for name in getattr(data, part):
            if not WORD.fullmatch(name):
                yield f"{part}.{name}: a name matches {WORD.pattern}"
            if name in RESERVED or name.endswith("_key") or (part == "entities" and name in data.derived):
                yield f"{part}.{name}: this name is taken; choose another"
    kinds = [name for part in ("categories", "numbers", "flags") for name in getattr(data, part)]
    for name, times in Counter(kinds).items():
        if times > 1:
            yield f"categories, numbers and flags: {name} is there {times} times"


def _time(data: Declaration) -> Iterator[str]:
    time = data.time
    if bool(time.column) == (time.parts is not None):
        yield "time: it takes either column or parts"
    if time.resolution not in ("second", "minute"):
        yield f"time.resolution is {time.resolution!r}; it can be second or minute"
    if time.format not in ("iso", "epoch") and "%" not in time.format:
        yield f"time.format is {time.format!r}; it can be iso, epoch or a strptime format such as %d.%m.%Y %H:%M"
    if not time.unit > 0:
        yield f"time.unit is {time.unit!r}; it is a number of seconds above 0"
    try:
        ZoneInfo(time.zone)
    except (KeyError, ValueError, OSError):
        yield f"time.zone is {time.zone!r}; it is an IANA name such as Europe/Berlin"
    try:
        datetime.fromisoformat(time.origin)
    except ValueError:
        yield f"time.origin is {time.origin!r}; it is a date such as 2017-12-01"


def _amount(data: Declaration) -> Iterator[str]:
    amount = data.amount
    if len(amount.decimal) != 1 or amount.decimal == amount.thousands or amount.decimal.isdigit():
        yield f"amount.decimal is {amount.decimal!r}; it is one character that is not the thousands separator"
    if not 0 <= amount.minor_units <= 6:
        yield f"amount.minor_units is {amount.minor_units}; it is from 0 to 6"
    if not 0 < amount.limit * 10**amount.minor_units < 2**53:
        yield f"amount.limit is {amount.limit:g}; it is above 0, and its minor units have room in 53 bits"


def _entities(data: Declaration) -> Iterator[str]:
    if not 1 <= len(data.entities) <= MAX_ENTITIES:
        yield f"entities: there are {len(data.entities)}; it takes 1 to {MAX_ENTITIES}, the relations of the graph"
    for name, entity in data.entities.items():
        if not entity.columns:
            yield f"entities.{name}.columns is empty"
        if entity.whole and (
            len(entity.whole) != len(entity.columns) or any(len(r) != 2 or r[0] > r[1] for r in entity.whole)
        ):
            yield f"entities.{name}.whole: it holds a least and a greatest for each of the columns"
        elif len(entity.whole) > 1 and (any(low != 0 for low, _ in entity.whole) or _size(entity.whole) > 2**63 - 1):
            yield f"entities.{name}.whole: several numbers begin at 0, and together have room in 63 bits"


def _size(whole: tuple[tuple[int, int], ...]) -> int:
    size = 1
    for low, high in whole:
        size *= high - low + 1
    return size


def _categories(data: Declaration) -> Iterator[str]:
    for name, category in data.categories.items():
        where = f"categories.{name}"
        if category.names and len(category.names) != len(category.values):
            yield f"{where}.names: one for each of values"
        if len(category.values) > 100:
            yield f"{where}.values: {len(category.values)} are more than 100; leave the list out, and any text is one"
        if category.whole and (len(category.whole) != 2 or category.whole[0] > category.whole[1] or category.values):
            yield f"{where}.whole: it is a least and a greatest number, and excludes values"
        if category.groups and not category.whole:
            yield f"{where}.groups: they are spans of a whole number"
        if bool(category.long_from) != bool(category.long_name):
            yield f"{where}: long_from and long_name go together"


def _measures(data: Declaration) -> Iterator[str]:
    for name, number in data.numbers.items():
        if not number.least <= number.most or not number.scale > 0:
            yield f"numbers.{name}: least is at most most, and scale is above 0"
    for name, flags in data.flags.items():
        if not flags.values or len(flags.values) > MAX_FLAGS or not flags.separator:
            yield f"flags.{name}: values are 1 to {MAX_FLAGS} words, and separator is not empty"
