"""PSI: zero for the same data, larger the further it moves, finite whatever is missing."""

import math

import polars as pl
import pytest

from training.data import profile


def rows(**columns: object) -> pl.LazyFrame:
    base = {
        "cents": range(1000),
        "time": [number % 1440 * 60 for number in range(1000)],
        "zip": [number % 3 * 10_000 or math.nan for number in range(1000)],
        "channel": [1 + number % 3 for number in range(1000)],
        "mcc": [5000 + number % 40 for number in range(1000)],
        "state": ["CA", "", "Italy", "NY"] * 250,
        "errors": [0] * 990 + [1] * 10,
        "label": [0] * 899 + [1] + [-1] * 100,
    }
    frame = pl.DataFrame({**base, **columns})
    return frame.lazy().with_columns(pl.col("state").cast(pl.Categorical))


def test_every_row_falls_into_a_bin():
    """Counts add up to the rows, for numbers with empty fields and for categories beyond the most frequent."""
    made = profile.profile(rows())
    assert {name: sum(column["counts"]) for name, column in made.items()} == dict.fromkeys(made, 1000)
    assert made["mcc"]["counts"][-1] == 500  # twenty of the forty codes share the last bin
    assert made["zip"]["counts"][-1] == 334  # empty
    assert made["label"]["counts"] == [899, 1, 100]  # not known yet
    assert made["amount"]["edges"] == pytest.approx([step - 0.01 for step in range(1, 10)], abs=0.011)
    assert made["amount"]["mean"] == pytest.approx(4.995)


def test_the_same_data_does_not_drift():
    """PSI against itself is zero."""
    drift = profile.drift(rows(), profile.profile(rows()))
    assert drift == pytest.approx(dict.fromkeys(drift.keys(), 0.0))
    assert drift.keys() == profile.profile(rows()).keys() - {"label"}


def test_labels_do_not_drift():
    """New rows all say "No" until their chargebacks come: that is no news."""
    assert profile.drift(rows(label=[0] * 1000), profile.profile(rows())) == profile.drift(
        rows(), profile.profile(rows())
    )


def test_only_what_moved_drifts():
    """A shift of one column shows in that column only, and more for a larger shift."""
    reference = profile.profile(rows())
    little, much = (profile.drift(rows(cents=[c + by for c in range(1000)]), reference) for by in (50, 500))
    assert 0 < little["amount"] < much["amount"]
    assert much["amount"] > 0.5
    assert all(value == pytest.approx(0) for name, value in much.items() if name != "amount")


def test_a_new_category_drifts():
    """A value that the champion has not seen falls into the last bin."""
    moved = profile.drift(rows(state=["Atlantis"] * 500 + ["CA", ""] * 250), profile.profile(rows()))
    assert moved["state"] > 0.5


def test_psi_is_the_textbooks():
    """A hand calculation, with half a row added to each bin; and never infinite."""
    p, q = [10.5 / 31, 20.5 / 31], [20.5 / 31, 10.5 / 31]
    assert profile.psi([10, 20], [20, 10]) == pytest.approx(
        sum((a - b) * math.log(a / b) for a, b in zip(p, q, strict=True))
    )
    assert math.isfinite(profile.psi([0, 100], [100, 0]))


def test_an_older_profile_may_lack_a_column():
    """What the champion's profile does not know has no drift, and what we no longer profile is left out."""
    reference = {"amount": profile.profile(rows())["amount"], "retired": {"values": [1], "counts": [1, 2]}}
    assert list(profile.drift(rows(), reference)) == ["amount"]


def test_empty_columns_have_a_profile():
    """A column without a single value neither raises nor drifts against itself."""
    empty = rows(zip=[math.nan] * 1000)
    made = profile.profile(empty)
    assert made["zip"]["counts"] == [0, 1000]
    assert profile.drift(empty, made)["zip"] == pytest.approx(0)
