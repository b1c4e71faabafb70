"""Row features of a few transactions by numpy, from the very expressions that polars computes over millions of rows.

An `ArrayExpression` has the methods of `pl.Expr` that `training.data.schema.expressions` uses, so there is one
definition of each feature. Results are equal bit for bit: logarithm and angles are the C library's, as polars' are.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.data import schema
from training.data.schema import FeatureSchema
from training.serving.line_reader import FEW

Array = NDArray[Any]
Columns = Mapping[str, Array]


@dataclass(frozen=True)
class RowFeatures:
    """The features `names` of a fitted schema, computed from clean columns, each [N]; texts are objects."""

    fitted: FeatureSchema
    names: Sequence[str]

    def __call__(self, columns: Columns) -> NDArray[np.float32]:
        """The features [N, F]."""
        if len(columns["time"]) > FEW:
            return schema.row_features(pl.DataFrame(dict(columns)), self.fitted).select(self.names).to_numpy(order="c")
        made = np.empty((len(columns["time"]), len(self.names)), dtype=np.float32)
        with np.errstate(over="ignore"):
            for at, run in enumerate(self._runs):
                made[:, at] = run(columns)
        return made

    @cached_property
    def _runs(self) -> list[Callable[[Columns], Array]]:
        made = schema.expressions(self.fitted, _column)
        return [_array(made[name]).run for name in self.names]


def _column(name: str) -> "ArrayExpression":
    return ArrayExpression(lambda columns: columns[name])


def _array(made: Any) -> "ArrayExpression":
    """What is polars' own, such as the time of day in another zone, is left to polars."""
    if isinstance(made, ArrayExpression):
        return made
    needed = made.meta.root_names()
    return ArrayExpression(lambda columns: _by_polars(made, {name: columns[name] for name in needed}))


def _by_polars(made: pl.Expr, columns: Columns) -> Array:
    return pl.DataFrame(dict(columns)).select(made).to_series().to_numpy()


class ArrayExpression:
    """What is to be computed of columns; each method does what the one of `pl.Expr` with its name does."""

    def __init__(self, run: Callable[[Columns], Array]) -> None:
        self.run = run

    def _then(self, work: Callable[[Array], Array]) -> "ArrayExpression":
        return ArrayExpression(lambda columns: work(self.run(columns)))

    def __truediv__(self, other: float) -> "ArrayExpression":
        return self._then(lambda values: values / other)

    def __floordiv__(self, other: int) -> "ArrayExpression":
        return self._then(lambda values: values // other)

    def __mod__(self, other: int) -> "ArrayExpression":
        return self._then(lambda values: values % other)

    def __mul__(self, other: Any) -> "ArrayExpression":
        if isinstance(other, ArrayExpression):
            return ArrayExpression(lambda columns: self.run(columns) * other.run(columns))
        return self._then(lambda values: values * other)

    def __and__(self, other: int) -> "ArrayExpression":
        return self._then(lambda values: values & other)

    def __lt__(self, other: float) -> "ArrayExpression":
        return self._then(lambda values: values < other)

    def __ge__(self, other: float) -> "ArrayExpression":
        return self._then(lambda values: values >= other)

    def __eq__(self, other: object) -> "ArrayExpression":  # type: ignore[override]
        return self._then(lambda values: values == other)

    def __ne__(self, other: object) -> "ArrayExpression":  # type: ignore[override]
        return self._then(lambda values: values != other)

    def sign(self) -> "ArrayExpression":
        """−1, 1, or a zero as it is."""
        return self._then(lambda values: np.where(values == 0, values, np.sign(values)))

    def abs(self) -> "ArrayExpression":
        """Without the sign."""
        return self._then(np.abs)

    def log1p(self) -> "ArrayExpression":
        """log(1 + x)."""
        return self._then(_each(math.log1p))

    def sin(self) -> "ArrayExpression":
        """Sine."""
        return self._then(_each(math.sin))

    def cos(self) -> "ArrayExpression":
        """Cosine."""
        return self._then(_each(math.cos))

    def is_nan(self) -> "ArrayExpression":
        """Whether it is not a number."""
        return self._then(np.isnan)

    def fill_nan(self, value: float) -> "ArrayExpression":
        """`value` in place of NaN."""
        return self._then(lambda values: np.where(np.isnan(values), value, values))

    def cast(self, kind: Any) -> "ArrayExpression":
        """In float64 for Float64; whole numbers and texts are what they are."""
        return self._then(lambda values: values.astype(np.float64)) if kind == pl.Float64 else self

    @property
    def str(self) -> "ArrayExpression":
        """The same: texts are texts."""
        return self

    def len_bytes(self) -> "ArrayExpression":
        """Lengths in UTF-8."""
        return self._then(lambda texts: np.array([len(text.encode()) for text in texts]))

    def replace_strict(
        self, old: Sequence[Any], new: Sequence[float], *, default: float, return_dtype: Any
    ) -> "ArrayExpression":
        """The value of `new` beside each one of `old`, as float32."""
        assert return_dtype == pl.Float32
        table = dict(zip(old, new, strict=True))
        return self._then(lambda keys: np.array([table.get(key, default) for key in keys.tolist()], dtype=np.float32))


def _each(function: Callable[[float], float]) -> Callable[[Array], Array]:
    """A function of the C library for each value: numpy's own, vectorised, may differ in the last digit."""
    return lambda values: np.fromiter(map(function, values.tolist()), dtype=np.float64, count=len(values))
