"""Reads figures of a stage's report, which comes from outside: an object or a number that is none is `Malformed`."""

from collections.abc import Mapping
from typing import Any

from statemachine.contracts.errors import Malformed
from statemachine.contracts.limits import clipped

LARGEST = 1e300
LONGEST = 100  # characters of a value in a message


def mapping(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object `name` of a record."""
    value = record.get(name)
    if not isinstance(value, Mapping):
        raise _refusal(name, value, "an object")
    return value


def number(record: Mapping[str, Any], name: str, expected: str = "a finite number") -> float:
    """The finite number `name` of a record; `expected` is what a refusal says it should be."""
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LARGEST:
        raise _refusal(name, value, expected)
    return value


def count(record: Mapping[str, Any], name: str) -> float:
    """The number `name` of a record, from 0 on."""
    expected = "a number from 0 on"
    value = float(number(record, name, expected))
    if value < 0:
        raise _refusal(name, record[name], expected)
    return value


def _refusal(name: str, value: Any, expected: str) -> Malformed:
    return Malformed(f"{name} is {clipped(_words(value), LONGEST)}, not {expected}")


def _words(value: Any) -> str:
    """What it is in words; Python refuses to print an integer of thousands of digits."""
    return repr(value) if not isinstance(value, int) or abs(value) < LARGEST else "an integer beyond numbers"
