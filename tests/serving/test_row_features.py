"""Row features by numpy are those of polars, bit for bit."""

import math
from functools import cache

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_lines import DECLARED, TODAY, lines

from training.data import schema
from training.data.declaration import Declaration
from training.data.presets import preset
from training.data.schema import FeatureSchema
from training.serving.csv_codec import parse
from training.serving.line_reader import FEW, LineReader
from training.serving.row_features import Columns, RowFeatures


def fitted(clean: pl.DataFrame, data: Declaration) -> FeatureSchema:
    """A schema that knows some of the values, and not the others."""
    known = clean.head(len(clean) // 2).with_columns(label=pl.int_range(pl.len()) % 3 == 0)
    return schema.fit(known.lazy(), data)


@pytest.mark.parametrize("copies", [1, FEW + 1])
@pytest.mark.parametrize("name", DECLARED)
def test_features_of_lines_are_those_of_the_batch(name: str, copies: int) -> None:
    """Of every row of every known shape, those of a zone of its own included; few rows and many."""
    data, raw = lines(name)
    clean, plain = parse(raw, TODAY, data), LineReader(data).plain(raw, TODAY)
    assert plain is not None
    made = fitted(clean, data)
    expected = schema.row_features(clean, made).select(data.row).to_numpy()
    found = RowFeatures(made, data.row)({column: np.tile(one, copies) for column, one in plain.columns.items()})
    expected = np.tile(expected, (copies, 1))
    assert (found.dtype, found.shape) == (np.dtype(np.float32), expected.shape)
    assert np.array_equal(found.view(np.uint32), np.ascontiguousarray(expected).view(np.uint32))


@cache
def sparkov() -> FeatureSchema:
    """A fitted schema of numbers, some with a logarithm."""
    data, raw = lines("sparkov")
    return fitted(parse(raw[:20], TODAY, data), data)


@settings(max_examples=100, deadline=None)
@given(
    cents=st.integers(-(10**7), 10**7),
    second=st.integers(0, 2**32),
    population=st.one_of(st.just(math.nan), st.floats(-1e15, 1e15)),
)
def test_any_amount_time_and_measure_is_equal(cents: int, second: int, population: float) -> None:
    """Logarithms and angles agree in the last bit, for any number."""
    made, data = sparkov(), sparkov().data
    columns: dict[str, list[object]] = {name: [0.5] for name in data.numbers}
    columns |= {"city_pop": [population]}
    columns |= {"category": ["grocery_pos"], "state": ["é"], "gender": [2], "cents": [cents], "time": [second]}
    expected = schema.row_features(pl.DataFrame(columns), made).select(data.row).to_numpy()
    objects = {name: np.array(one, dtype=object if isinstance(one[0], str) else None) for name, one in columns.items()}
    assert np.array_equal(RowFeatures(made, data.row)(objects).view(np.uint32), expected.view(np.uint32))


def test_no_row_has_no_features() -> None:
    """An empty history is an empty table."""
    data, raw = lines("fdh")
    made, names = fitted(parse(raw[:20], TODAY, data), data), preset("handbook").row
    nothing: Columns = {"time": np.zeros(0, dtype=np.int64), "cents": np.zeros(0, dtype=np.int64)}
    assert RowFeatures(made, names)(nothing).shape == (0, len(names))
