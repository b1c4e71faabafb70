"""Frozen dataclasses to JSON and back, with a format number: N and N−1 are read, anything else is a clear error."""

import json
import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar

from statemachine.core.errors import Malformed

T = TypeVar("T")
FORMAT = 2
READABLE = (FORMAT - 1, FORMAT)


def dumps(value: Any) -> str:
    """The dataclass as JSON text."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def loads(kind: type[T], text: str, format_number: int = FORMAT) -> T:
    """The `kind` in `text`, written by this release or the one before it.

    A field that an older record lacks takes its default, and one that a newer release added is passed over: so fields
    may be added within a format; renaming one, or changing what it means, needs a new format and its reading here.

    Raises:
        Malformed: another format, not JSON, or not a record of this kind.
    """
    if format_number not in READABLE:
        readable = " and ".join(map(str, READABLE))
        raise Malformed(f"a {kind.__name__} of format {format_number}; this release reads {readable}")
    try:
        return typing.cast(T, _parse(kind, json.loads(text)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Malformed(f"a {kind.__name__} that cannot be read: {type(error).__name__}: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _parse(kind: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any or kind is object:
        return value
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _parse(next(a for a in arguments if a is not type(None)), value)
    if origin is tuple:
        return tuple(_parse(arguments[0], part) for part in value)
    if origin is not None and issubclass(origin, Mapping):
        return {key: _parse(arguments[1], part) for key, part in value.items()}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    if isinstance(kind, type) and is_dataclass(kind):
        hints = _hints(kind)
        return kind(**{name: _parse(hints[name], part) for name, part in value.items() if name in hints})
    return float(value) if kind is float else kind(value)
