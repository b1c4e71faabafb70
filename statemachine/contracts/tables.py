"""One reader for every configuration table: TOML or JSON → frozen dataclass, with errors that name the key."""

import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar

from statemachine.contracts.errors import Misconfigured

T = TypeVar("T")
Reader = Callable[[Any], Any]
TRUTH = {"true": True, "1": True, "false": False, "0": False}


def read_table(kind: type[T], table: Mapping[str, Any], where: str, **given: Any) -> T:
    """The dataclass `kind` from a table; `where` is the table's name in messages, `given` are fields set by the caller.

    A list becomes a tuple, a table within becomes the field's dataclass, an int is read as a float where one is asked
    for, and 3.0 as an int. Text is read as a number or a truth value where one is asked for: Katib's values are text.

    Raises:
        Misconfigured: `table` is no table, a key is unknown or missing, or a value has another type.
    """
    if not isinstance(table, Mapping):
        raise Misconfigured(f"{where} is {table!r}; it takes a table")
    known = {field.name: field for field in fields(typing.cast(Any, kind)) if field.name not in given}
    if unknown := sorted(set(table) - set(known)):
        raise Misconfigured(f"{where}: unknown {', '.join(map(str, unknown))}; known are {', '.join(sorted(known))}")
    required = (f.name for f in known.values() if f.default is MISSING and f.default_factory is MISSING)
    if missing := sorted(set(required) - set(table)):
        raise Misconfigured(f"{where}: {', '.join(missing)} is missing")
    hints = _hints(typing.cast(Any, kind))
    return kind(**{name: _value(hints[name], value, f"{where}.{name}") for name, value in table.items()}, **given)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _value(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any or kind is object:
        return value
    if origin in (typing.Union, types.UnionType):
        inner = next(each for each in arguments if each is not type(None))
        return None if value is None else _value(inner, value, where)
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, list | tuple):
            raise Misconfigured(f"{where} is {value!r}; it takes a list")
        return tuple(_value(arguments[0], part, f"{where}[{number}]") for number, part in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise Misconfigured(f"{where} is {value!r}; it takes a table")
        return {str(key): _value(arguments[1], part, f"{where}.{key}") for key, part in value.items()}
    if isinstance(kind, type) and is_dataclass(kind):
        return value if isinstance(value, kind) else read_table(kind, value, where)
    return _plain(kind, value, where)


def _plain(kind: Any, value: Any, where: str) -> Any:
    reader, expected = PLAIN.get(kind, (kind, getattr(kind, "__name__", str(kind))))
    try:
        return reader(value)
    except (ValueError, TypeError, KeyError, OverflowError):
        raise Misconfigured(f"{where} is {value!r}; it takes {expected}") from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _truth(value: Any) -> bool:
    return value if isinstance(value, bool) else TRUTH[value.lower()] if isinstance(value, str) else _never()


def _number(value: Any) -> float:
    number = float(_never() if isinstance(value, bool) else value)
    return number if math.isfinite(number) else _never()


def _whole(value: Any) -> int:
    if type(value) is int:
        return value  # a float has 53 bits
    number = _number(value)
    return int(number) if number == int(number) else _never()


def _never() -> Any:
    raise ValueError


PLAIN: Mapping[Any, tuple[Reader, str]] = {
    str: (_text, "text"),
    bool: (_truth, "true or false"),
    float: (_number, "a finite number"),
    int: (_whole, "a whole number"),
}
