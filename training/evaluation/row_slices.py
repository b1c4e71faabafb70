"""Slices that a row's own values decide: its categories and its amount."""

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.data.declaration import Category, Declaration

AMOUNTS = {"refund": (-(10**9), 0), "under 10": (0, 10), "10 to 100": (10, 100), "100 and more": (100, 10**9)}
TOP = 10  # values of an open category that are looked at

Rows = NDArray[np.bool_]


def of_values(table: pl.DataFrame, data: Declaration) -> Iterator[tuple[str, Rows]]:
    """Yield each slice's name and its mask over the rows of `table`, which has `clean_` columns."""
    for name, category in data.categories.items():
        yield from _kinds(name, category, table[f"clean_{name}"])
    cents, unit = table["clean_cents"].to_numpy(), 10**data.amount.minor_units
    for name, (low, high) in AMOUNTS.items():
        yield f"amount={name}", (cents >= low * unit) & (cents < high * unit)


def _kinds(name: str, category: Category, values: pl.Series) -> Iterator[tuple[str, Rows]]:
    """A slice for each value of a closed list, each group of a whole number, each of the `TOP` values of any other."""
    if category.values:
        words = category.names or category.values
        yield from ((f"{name}={word}", (values == code).to_numpy()) for code, word in enumerate(words, 1))
    elif category.groups:
        for group, (low, high) in category.groups.items():
            yield f"{name}={group}", values.is_between(low, high).to_numpy()
    else:
        plain = values.cast(pl.String)
        often = plain.value_counts().sort(["count", plain.name], descending=[True, False]).head(TOP)
        yield from ((f"{name}={word or 'none'}", (plain == word).to_numpy()) for word in often[plain.name].to_list())
