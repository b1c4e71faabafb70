"""Every configuration table is read by one reader, whose errors name the key, the value and what it takes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from statemachine.contracts.errors import Misconfigured
from statemachine.contracts.tables import read_table


@dataclass(frozen=True)
class Inner:
    size: int


@dataclass(frozen=True)
class Sample:
    name: str
    share: float = 0.5
    count: int = 3
    strict: bool = False
    limit: float | None = None
    words: tuple[str, ...] = ()
    inner: Inner = Inner(1)
    several: tuple[Inner, ...] = ()
    floors: Mapping[str, float] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"name": "a"}, Sample("a")),
        ({"name": "a", "share": 1}, Sample("a", share=1.0)),
        ({"name": "a", "count": 4.0}, Sample("a", count=4)),
        ({"name": "a", "count": "4", "share": "0.25", "strict": "True"}, Sample("a", 0.25, 4, True)),
        ({"name": "a", "limit": None}, Sample("a")),
        ({"name": "a", "words": ["x", "y"]}, Sample("a", words=("x", "y"))),
        (
            {"name": "a", "inner": {"size": 2}, "several": [{"size": 3}]},
            Sample("a", inner=Inner(2), several=(Inner(3),)),
        ),
        ({"name": "a", "floors": {"online": 1}}, Sample("a", floors={"online": 1.0})),
    ],
)
def test_a_table_becomes_its_dataclass(table: dict[str, Any], expected: Sample) -> None:
    """Lists, tables within tables, whole floats and Katib's text arrive as what the field says."""
    assert read_table(Sample, table, "models.fraud") == expected


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "models.fraud: name is missing"),
        ({"name": "a", "sise": 1, "x": 2}, r"models.fraud: unknown sise, x; known are count, floors"),
        ({"name": 1}, "models.fraud.name is 1; it takes text"),
        ({"name": "a", "share": True}, "models.fraud.share is True; it takes a finite number"),
        ({"name": "a", "share": float("nan")}, "models.fraud.share is nan; it takes a finite number"),
        ({"name": "a", "count": 1.5}, "models.fraud.count is 1.5; it takes a whole number"),
        ({"name": "a", "strict": 1}, "models.fraud.strict is 1; it takes true or false"),
        ({"name": "a", "words": "x"}, "models.fraud.words is 'x'; it takes a list"),
        ({"name": "a", "words": [1]}, r"models.fraud.words\[0\] is 1; it takes text"),
        ({"name": "a", "inner": 3}, "models.fraud.inner is 3; it takes a table"),
        ({"name": "a", "several": [{"size": "many"}]}, r"models.fraud.several\[0\].size is 'many'; it takes a whole"),
        ({"name": "a", "floors": {"online": "high"}}, "models.fraud.floors.online is 'high'; it takes a finite number"),
    ],
)
def test_what_cannot_be_read_is_named(table: dict[str, Any], message: str) -> None:
    """The message has the key's full path, the value and what it takes."""
    with pytest.raises(Misconfigured, match=message):
        read_table(Sample, table, "models.fraud")
