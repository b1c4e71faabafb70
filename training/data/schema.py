"""The feature schema: one ordered, versioned list of row features, and the one function that computes them.

The list never depends on the data, so the model's inputs have the same dimensions from one training to the next. What
is fitted (each category's share and fraud rate) comes from the train split alone and ships with the model in
`schema.json`; the same `row_features` runs offline over 24 million rows and in the server over one.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, TypeVar

import polars as pl

from training.data import parser

VERSION = 1
ERRORS = tuple("error_" + word.lower().replace(" ", "_") for word in (*parser.ERRORS, "other"))
CATEGORIES = ("mcc", "state")
FEATURES = (
    "amount_log",  # sign · log(1 + |dollars|)
    "refund",
    "swipe",
    "chip",
    "online",
    "mcc_code",  # in thousands: 0.7 … 9.4
    "mcc_share",  # log of the share of train rows; a code that train has not seen counts as half a row
    "mcc_risk",  # log odds of fraud in train, drawn to the overall odds
    "state_share",
    "state_risk",
    "no_state",
    "no_zip",
    "foreign",  # the State field holds a country
    "zip",  # in ten thousands, 0 if empty
    "hour_sin",
    "hour_cos",
    *ERRORS,
)
PRIOR_ROWS = 500  # a category's fraud rate is drawn to the overall rate as if by this many more rows

Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)


def definition() -> str:
    """Digest of what does not depend on data: the columns that are read and the features made of them."""
    told = [VERSION, FEATURES, PRIOR_ROWS, parser.VERSION, parser.ERRORS, parser.CHANNELS]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


@dataclass(frozen=True)
class Encoding:
    """What train says of one column: each value's log share of rows and log odds of fraud, and those of any other."""

    values: tuple[Any, ...]
    share: tuple[float, ...]
    risk: tuple[float, ...]
    unseen_share: float
    unseen_risk: float


@dataclass(frozen=True)
class FeatureSchema:
    """The features with what was fitted for them, one `Encoding` for each of `CATEGORIES`."""

    encodings: Mapping[str, Encoding]

    @cached_property
    def sha256(self) -> str:
        """Digest of the list and of what was fitted: equal digests give equal features."""
        return hashlib.sha256(self.dumps()).hexdigest()

    def dumps(self) -> bytes:
        """The contents of `schema.json`."""
        record = {"version": VERSION, "definition": definition(), "features": list(FEATURES), **asdict(self)}
        return (json.dumps(record, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def loads(body: bytes) -> FeatureSchema:
    """A schema from the contents of `schema.json`.

    Raises:
        ValueError: it lists other features than this code computes.
    """
    record = json.loads(body)
    if record["definition"] != definition():
        raise ValueError(f"schema.json has definition {record['definition'][:12]}, this code {definition()[:12]}")
    encodings = {name: Encoding(**{k: _frozen(v) for k, v in e.items()}) for name, e in record["encodings"].items()}
    return FeatureSchema(encodings)


def fit(train: pl.LazyFrame) -> FeatureSchema:
    """The schema fitted on the clean columns and labels of the train split, and of nothing else."""
    counts = {name: _counts(train, name) for name in CATEGORIES}
    return FeatureSchema({name: _encoding(table) for name, table in counts.items()})


def row_features(frame: Frame, schema: FeatureSchema) -> Frame:
    """Adds `FEATURES` as Float32 columns, in order, from clean columns (`training.data.parser`), row by row."""
    made = _expressions(schema)
    return frame.with_columns(**{name: made[name].cast(pl.Float32) for name in FEATURES})


def _expressions(schema: FeatureSchema) -> dict[str, pl.Expr]:
    dollars = pl.col("cents") / 100
    angle = pl.col("minute") * (2 * math.pi / 1440)
    length = pl.col("state").cast(pl.String).str.len_bytes()
    return {
        "amount_log": dollars.sign() * dollars.abs().log1p(),
        "refund": pl.col("cents") < 0,
        **{name: pl.col("channel") == code for code, name in enumerate(("swipe", "chip", "online"), 1)},
        "mcc_code": pl.col("mcc") / 1000,
        **{f"{name}_share": _looked_up(schema, name, "share") for name in CATEGORIES},
        **{f"{name}_risk": _looked_up(schema, name, "risk") for name in CATEGORIES},
        "no_state": length == 0,
        "no_zip": pl.col("zip") == 0,
        "foreign": length > 2,
        "zip": pl.col("zip") / 10_000,
        "hour_sin": angle.sin(),
        "hour_cos": angle.cos(),
        **{name: (pl.col("errors") & (1 << bit)) != 0 for bit, name in enumerate(ERRORS)},
    }


def _looked_up(schema: FeatureSchema, name: str, what: str) -> pl.Expr:
    encoding = schema.encodings[name]
    return pl.col(name).replace_strict(
        list(encoding.values),
        list(getattr(encoding, what)),
        default=getattr(encoding, f"unseen_{what}"),
        return_dtype=pl.Float32,
    )


def _counts(train: pl.LazyFrame, name: str) -> pl.DataFrame:
    counted = train.group_by(name).agg(rows=pl.len(), frauds=pl.col("label").cast(pl.Int64).sum())
    return counted.collect(engine="streaming").cast({name: pl.String if name == "state" else pl.Int64}).sort(name)


def _encoding(counts: pl.DataFrame) -> Encoding:
    rows, frauds = counts["rows"].to_list(), counts["frauds"].to_list()
    total = sum(rows)
    prior = (sum(frauds) + 0.5) / (total + 1)
    return Encoding(
        values=tuple(counts.to_series(0).to_list()),
        share=tuple(math.log((n + 0.5) / (total + 1)) for n in rows),
        risk=tuple(_log_odds((f + PRIOR_ROWS * prior) / (n + PRIOR_ROWS)) for n, f in zip(rows, frauds, strict=True)),
        unseen_share=math.log(0.5 / (total + 1)),
        unseen_risk=_log_odds(prior),
    )


def _log_odds(rate: float) -> float:
    return math.log(rate / (1 - rate))


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
