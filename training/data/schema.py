"""The feature schema: one ordered, versioned list of row features, and the one function that computes them.

The list follows from the declaration (`training.data.declaration`) and never depends on the data, so the model's inputs
have the same dimensions from one training to the next. What is fitted (each category's share) comes from
the train split alone and ships with the model in `schema.json`; the same `row_features` runs offline over 24 million
rows and in the server over one.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import polars as pl

from training.data import parser
from training.data.declaration import Category, Declaration, category_features, flag_features, restored
from training.data.presets import preset

VERSION = 3

Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)


def definition(data: Declaration | None = None) -> str:
    """Digest of what does not depend on data: the declaration of the columns, and the features made of them."""
    data = data or preset()
    told = [VERSION, data.row, parser.VERSION, data.sha256]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


@dataclass(frozen=True)
class Encoding:
    """What train says of one column: each value's log share of rows, and that of any other.

    No fraud rate: fitted on the labels of the rows that are then trained on, it costs precision (docs/decisions/0017).
    """

    values: tuple[Any, ...]
    share: tuple[float, ...]
    unseen_share: float


@dataclass(frozen=True)
class FeatureSchema:
    """The features of a declaration with what was fitted for them, an `Encoding` for each category without a list."""

    encodings: Mapping[str, Encoding]
    data: Declaration = field(default_factory=preset)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the row features, in order."""
        return self.data.row

    @cached_property
    def sha256(self) -> str:
        """Digest of the list and of what was fitted: equal digests give equal features."""
        return hashlib.sha256(self.dumps()).hexdigest()

    def dumps(self) -> bytes:
        """The contents of `schema.json`."""
        told = {"version": VERSION, "definition": definition(self.data), "features": list(self.features)}
        encodings = {name: asdict(encoding) for name, encoding in self.encodings.items()}
        record = {**told, "encodings": encodings, "data": self.data.as_dict()}
        return (json.dumps(record, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def loads(body: bytes) -> FeatureSchema:
    """A schema from the contents of `schema.json`.

    Raises:
        ValueError: it lists other features than this code computes.
    """
    record = json.loads(body)
    data = restored(record["data"]) if "data" in record else preset()
    if record["definition"] != definition(data):
        raise ValueError(f"schema.json has definition {record['definition'][:12]}, this code {definition(data)[:12]}")
    encodings = {name: Encoding(**{k: _frozen(v) for k, v in e.items()}) for name, e in record["encodings"].items()}
    return FeatureSchema(encodings, data)


def fit(train: pl.LazyFrame, data: Declaration | None = None) -> FeatureSchema:
    """The schema fitted on the clean columns of the train split, and of nothing else."""
    data = data or preset()
    counts = {name: _counts(train, name, data.categories[name]) for name in data.open_categories}
    return FeatureSchema({name: _encoding(table) for name, table in counts.items()}, data)


def row_features(frame: Frame, schema: FeatureSchema) -> Frame:
    """Adds the features as Float32 columns, in order, from clean columns (`training.data.parser`), row by row."""
    made = expressions(schema)
    return frame.with_columns(**{name: made[name].cast(pl.Float32) for name in schema.features})


def expressions(schema: FeatureSchema, column: Callable[[str], Any] = pl.col) -> dict[str, Any]:
    """The features over clean columns: expressions of polars, or of another library with the same methods."""
    data = schema.data
    amount = column("cents") / 10**data.amount.minor_units
    angle = parser.minute(data, column) * (2 * math.pi / 1440)
    made = {
        "amount_log": amount.sign() * amount.abs().log1p(),
        "refund": column("cents") < 0,
        "hour_sin": angle.sin(),
        "hour_cos": angle.cos(),
    }
    for name, category in data.categories.items():
        made |= _category(schema, name, category, column(name))
    for name, number in data.numbers.items():
        value = column(name).cast(pl.Float64).fill_nan(0)
        made[name] = value.sign() * value.abs().log1p() if number.log else value / number.scale
        made[f"no_{name}"] = column(name).is_nan()
    for name, flags in data.flags.items():
        made |= {word: (column(name) & (1 << bit)) != 0 for bit, word in enumerate(flag_features(name, flags))}
    return made


def _category(schema: FeatureSchema, name: str, category: Category, value: Any) -> dict[str, Any]:
    if category.values:
        return {word: value == code for code, word in enumerate(category_features(name, category), 1)}
    made = {f"{name}_share": _share(schema.encodings[name], value)}
    if category.whole:
        made |= {f"{name}_code": value / category.scale, f"no_{name}": value == 0}
        return made
    length = value.cast(pl.String).str.len_bytes()
    made |= {f"{name}_code": _numbered(schema.encodings[name], value), f"no_{name}": length == 0}
    return made | ({category.long_name: length >= category.long_from} if category.long_name else {})


def _numbered(encoding: Encoding, value: Any) -> Any:
    """The number of a text among those of train, from 1; 0 if train has not seen it."""
    numbers = list(range(1, len(encoding.values) + 1))
    return value.replace_strict(list(encoding.values), numbers, default=0, return_dtype=pl.Float32)


def _share(encoding: Encoding, value: Any) -> Any:
    return value.replace_strict(
        list(encoding.values), list(encoding.share), default=encoding.unseen_share, return_dtype=pl.Float32
    )


def _counts(train: pl.LazyFrame, name: str, category: Category) -> pl.DataFrame:
    counted = train.group_by(name).agg(rows=pl.len())
    return counted.collect(engine="streaming").cast({name: pl.Int64 if category.whole else pl.String}).sort(name)


def _encoding(counts: pl.DataFrame) -> Encoding:
    rows = counts["rows"].to_list()
    total = sum(rows)
    return Encoding(
        values=tuple(counts.to_series(0).to_list()),
        share=tuple(math.log((n + 0.5) / (total + 1)) for n in rows),
        unseen_share=math.log(0.5 / (total + 1)),
    )


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
