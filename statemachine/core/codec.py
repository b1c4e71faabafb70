"""Frozen dataclasses to JSON and back, with a format number: N and N−1 are read, anything else is a clear error."""

import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar

from statemachine.contracts.errors import Malformed

T = TypeVar("T")
FORMAT = 3
READABLE = (FORMAT - 1, FORMAT)


def formerly(name: str) -> Mapping[str, str]:
    """Metadata of a field that format N−1 stores under `name`. Remove it when the format after this one begins."""
    return {"formerly": name}


def dumps(value: Any) -> str:
    """The dataclass as JSON text."""
    return json.dumps(value, default=_plain, sort_keys=True, separators=(",", ":"), allow_nan=False)


def loads(kind: type[T], text: str, format_number: int = FORMAT) -> T:
    """The `kind` in `text`, written by this release or the one before it.

    A field that an older record lacks takes its default, and one that a newer release added is ignored, so fields may
    be added within a format. Renaming a field needs a new format and `formerly`; changing its meaning needs a new one.

    Raises:
        Malformed: another format, not JSON, or not a record of this kind.
    """
    if format_number not in READABLE:
        readable = " and ".join(map(str, READABLE))
        raise Malformed(f"a {kind.__name__} of format {format_number}; this release reads {readable}")
    try:
        return typing.cast(T, _parser(typing.cast(Any, kind), format_number < FORMAT)(json.loads(text)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Malformed(f"a {kind.__name__} that cannot be read: {type(error).__name__}: {error}") from error


def _plain(value: Any) -> Any:
    """What `json` does not know by itself."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return dict(value)
    return {name: getattr(value, name) for name in _names(typing.cast(Any, type(value)))}


@cache
def _names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


Parser = Callable[[Any], Any]


@cache
def _parser(kind: Any, older: bool) -> Parser:
    """The reader of one type, in this format or the `older` one. It is built once: every pass reads several records."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any or kind is object:
        return lambda value: value
    if origin in (typing.Union, types.UnionType):
        inner = _parser(next(a for a in arguments if a is not type(None)), older)
        return lambda value: None if value is None else inner(value)
    if origin is tuple:
        each = _parser(arguments[0], older)
        return lambda value: tuple(each(part) for part in value)
    if origin is not None and issubclass(origin, Mapping):
        part_of = _parser(arguments[1], older)
        return lambda value: {key: part_of(part) for key, part in value.items()}
    if isinstance(kind, type) and is_dataclass(kind):
        return _record_parser(kind, older)
    return typing.cast(Parser, kind)


def _record_parser(kind: type, older: bool) -> Parser:
    parsers = {name: _parser(hint, older) for name, hint in typing.get_type_hints(kind).items()}
    former = {field.metadata["formerly"]: field.name for field in fields(kind) if "formerly" in field.metadata}
    renamed = former if older else {}

    def parse(value: Mapping[str, Any]) -> Any:
        named = {renamed.get(name, name): part for name, part in value.items()}
        return kind(**{name: parsers[name](part) for name, part in named.items() if name in parsers})

    return parse
