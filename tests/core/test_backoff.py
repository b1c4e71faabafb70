"""Waiting between attempts."""

from hypothesis import given
from hypothesis import strategies as st

from statemachine.core.backoff import backoff


def test_it_doubles_up_to_the_cap() -> None:
    """30, 60, 120 … 900, of which half is jitter."""
    assert [backoff(n, 0.0, 30, 900) for n in range(1, 8)] == [15, 30, 60, 120, 240, 450, 450]
    assert backoff(3, 0.5, 30, 900) == 90


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_it_stays_between_half_and_all(failures: int, roll: float) -> None:
    """However often it failed: no overflow, never zero, never above the cap."""
    assert 15 <= backoff(failures, roll, 30, 900) <= 900
