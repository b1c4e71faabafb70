"""What each column of a model's files is: the declaration that checks, features, graph, requests and reports follow.

`training.data.declared` reads it from a table of fraudloop.toml; `training.data.presets` has some that are known. It is
kept in `schema.json`, so a served model reads requests by the declaration that it was trained with.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

MAX_ENTITIES = 4
WORD = re.compile(r"[a-z][a-z0-9_]{0,30}")
RESERVED = frozenset(
    {"time", "label", "split", "id", "row", "cents", "amount", "amount_log", "refund", "hour", "hour_sin", "hour_cos"}
)
EPOCH = "1970-01-01"
MAX_FLAGS = 62  # one bit each, in 64


@dataclass(frozen=True)
class TimeParts:
    """Columns that hold a time in parts; `time` is HH:MM, or HH:MM:SS if the resolution is `second`."""

    year: str
    month: str
    day: str
    time: str


@dataclass(frozen=True)
class Time:
    """When: one `column` in a `format`, or `parts`.

    `format`: `iso` (ISO 8601), `epoch` (a number of `unit` seconds since `origin`: `unit` 0.001 is milliseconds), or a
    strptime format. `zone`: an IANA name, for times that do not say theirs. `resolution`: `second`, or `minute`.
    """

    column: str = ""
    parts: TimeParts | None = None
    format: str = "iso"
    unit: float = 1
    origin: str = EPOCH
    zone: str = "UTC"
    resolution: str = "second"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it is read from."""
        return (self.column,) if self.parts is None else (*_values(self.parts),)


@dataclass(frozen=True)
class Amount:
    """How much: a number with these separators, one of `prefixes` before it and of `suffixes` behind it, if any.

    It is kept in minor units (`minor_units` decimal places); more than `limit` is no amount.
    """

    column: str
    decimal: str = "."
    thousands: str = ""
    prefixes: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    minor_units: int = 2
    limit: float = 1e9


@dataclass(frozen=True)
class Entity:
    """Who: what several transactions have in common. Its key is a 64-bit keyed hash of its columns' values.

    `whole` (least and greatest of each column) says that they are whole numbers; then they are the key themselves.
    """

    columns: tuple[str, ...]
    whole: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Category:
    """One of several kinds. `values`: a closed list, with `names` of their own as features.

    Without a list any text is one, or any whole number within `whole`; it becomes a share and a risk, and a code.
    `scale` divides the code of a whole number. A text of at least `long_from` characters has the feature `long_name`.
    `groups` are spans of a whole number that the report looks at.
    """

    column: str
    values: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    whole: tuple[int, ...] = ()
    scale: float = 1
    empty: bool = False
    long_from: int = 0
    long_name: str = ""
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Number:
    """A measure: the feature is its value divided by `scale`, or with `log` the sign times log(1 + |value|)."""

    column: str
    least: float = -1e15
    most: float = 1e15
    whole: bool = False
    empty: bool = False
    scale: float = 1
    log: bool = False


@dataclass(frozen=True)
class Flags:
    """A list of words with a `separator`; each of `values` is a feature, and any other word is one together."""

    column: str
    values: tuple[str, ...]
    separator: str = ","
    prefix: str = ""


@dataclass(frozen=True)
class Label:
    """Fraud or not, in these words; with `empty` an empty field says that it is not known yet."""

    column: str
    fraud: tuple[str, ...] = ("1",)
    good: tuple[str, ...] = ("0",)
    empty: bool = False


@dataclass(frozen=True)
class Declaration:
    """All roles. `present` must not be empty in any row and are no features; other columns of a file are left alone.

    `columns` is the order of a served request's fields (default: by role), `features` those that the model gets
    (default: all that the roles give). `salt` goes into the keys of entities.
    """

    time: Time
    amount: Amount
    entities: Mapping[str, Entity]
    id: str = ""
    categories: Mapping[str, Category] = field(default_factory=dict)
    numbers: Mapping[str, Number] = field(default_factory=dict)
    flags: Mapping[str, Flags] = field(default_factory=dict)
    label: Label | None = None
    present: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    salt: str = ""

    def __post_init__(self) -> None:
        for part in _SHARED:  # a table has no order, and must not get one from who wrote it
            object.__setattr__(self, part, dict(sorted(getattr(self, part).items())))

    @cached_property
    def known(self) -> tuple[str, ...]:
        """Every column that is read, each once, in the order of a request's line; the label comes last."""
        roles = [*([self.id] if self.id else []), *self.time.columns, self.amount.column]
        roles += [column for entity in self.entities.values() for column in entity.columns]
        roles += [one.column for part in (self.categories, self.numbers, self.flags) for one in part.values()]
        given = [column for column in self.columns if column in {*roles, *self.present}]
        last = [self.label.column] if self.label else []
        return tuple(dict.fromkeys(c for c in (*given, *roles, *self.present) if c not in last)) + tuple(last)

    @cached_property
    def unlabelled(self) -> tuple[str, ...]:
        """The columns that a payment has: `known` without the label."""
        return self.known[:-1] if self.label else self.known

    @cached_property
    def fingerprint(self) -> str:
        """8 hexadecimal digits that stand for how a payment's line is written: `unlabelled`, and the forms of time and
        amount.
        """
        form = [self.unlabelled, asdict(self.time), asdict(replace(self.amount, limit=0.0))]
        return hashlib.sha256(json.dumps(form).encode()).hexdigest()[:8]

    @cached_property
    def source(self) -> tuple[str, ...]:
        """The clean columns that row features are made of, besides the time."""
        return ("cents", *self.categories, *self.numbers, *self.flags)

    @cached_property
    def relations(self) -> tuple[str, ...]:
        """Names of the entities: the relations of the graph."""
        return tuple(self.entities)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The clean columns that hold the entities' keys."""
        return tuple(f"{name}_key" for name in self.entities)

    @cached_property
    def derived(self) -> tuple[str, ...]:
        """All row features that the roles give, in order."""
        names = ["amount_log", "refund"]
        for name, category in self.categories.items():
            names += category_features(name, category)
        for name, number in self.numbers.items():
            names += [name, *([f"no_{name}"] if number.empty else [])]
        names += ["hour_sin", "hour_cos"]
        for name, flags in self.flags.items():
            names += flag_features(name, flags)
        return tuple(names)

    @cached_property
    def row(self) -> tuple[str, ...]:
        """The row features in the model's order."""
        return self.features or self.derived

    @cached_property
    def open_categories(self) -> tuple[str, ...]:
        """Those without a closed list: train says each value's share and risk."""
        return tuple(name for name, category in self.categories.items() if not category.values)

    def as_dict(self) -> dict[str, Any]:
        """As it stands in `schema.json`: the table without what is not said."""
        plain: dict[str, Any] = _shorter(json.loads(json.dumps(asdict(self))), self)
        return plain

    @cached_property
    def sha256(self) -> str:
        """Digest of all that is said: another declaration has another one."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()

    def lacks(self, other: "Declaration") -> list[str]:
        """What of this declaration a data set that was made by `other` cannot give, in words; empty if nothing."""
        names = [f"{part}.{name}" for part in _SHARED for name in getattr(self, part)]
        told = [name for name in names if _said(self, name) != _said(other, name)]
        told += ["salt"] if self.salt != other.salt else []
        told += ["amount.minor_units"] if self.amount.minor_units != other.amount.minor_units else []
        return told + (["time.zone"] if self.time.zone != other.time.zone else [])


_SHARED = ("entities", "categories", "numbers", "flags")


def _said(declaration: Declaration, name: str) -> object:
    part, _, own = name.partition(".")
    found = getattr(declaration, part).get(own)
    return replace(found, groups={}) if isinstance(found, Category) else found


def category_features(name: str, category: Category) -> list[str]:
    """Names of what a category gives."""
    if category.values:
        return list(category.names or [f"{name}_{slug(value)}" for value in category.values])
    empty = [f"no_{name}"] if category.empty else []
    long = [category.long_name] if category.long_name else []
    return [f"{name}_code", f"{name}_share", *empty, *long]


def flag_features(name: str, flags: Flags) -> list[str]:
    """Names of what a list of words gives; the last is any other word."""
    prefix = flags.prefix or name
    return [f"{prefix}_{slug(value)}" for value in (*flags.values, "other")]


def slug(text: str) -> str:
    """A word for a feature's name."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "empty"


def restored(record: Mapping[str, Any]) -> Declaration:
    """The declaration of a `schema.json`, which was checked when it was written.

    Raises:
        KeyError, TypeError: it is none.
    """
    made: Declaration = _made(Declaration, record)
    return made


def _made(kind: Any, value: Any) -> Any:
    if isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{name: _made(hints[name], part) for name, part in value.items()})
    if get_origin(kind) is tuple:
        return tuple(_made(get_args(kind)[0], part) for part in value)
    if get_origin(kind) in (Union, UnionType):
        return None if value is None else _made(get_args(kind)[0], value)
    if isinstance(value, Mapping):
        return {name: _made(get_args(kind)[1], part) for name, part in value.items()}
    return value


def _shorter(plain: Any, made: Any) -> Any:
    """Without fields that have their default."""
    if isinstance(made, Mapping):
        return {name: _shorter(plain[name], part) for name, part in made.items()}
    if not is_dataclass(made):
        return int(plain) if isinstance(plain, float) and plain.is_integer() else plain
    kept = {}
    for one in fields(made):
        value = getattr(made, one.name)
        if value != one.default and not (isinstance(value, Mapping) and not value):
            kept[one.name] = _shorter(plain[one.name], value)
    return kept


def _values(record: Any) -> list[str]:
    return [getattr(record, one.name) for one in fields(record)]
