"""How far back a run looks: which rows may be seeds, and which may be in a history. Days are calendar days (UTC)."""

from collections.abc import Iterable
from dataclasses import dataclass

from training.data.split import ALWAYS, DAY


@dataclass(frozen=True)
class Reach:
    """Seconds since the epoch: `seeds` is where the training window begins, `history` where the data set does."""

    seeds: int = ALWAYS
    history: int = ALWAYS

    @classmethod
    def of(cls, newest: int, training_window_days: int, history_days: int) -> "Reach":
        """The reach of a run whose newest row is at `newest`; 0 days are all of them.

        The window's last day is the newest row's; histories reach back `history_days` from the window's first day.
        """
        if not training_window_days:
            return cls()
        seeds = (newest // DAY - training_window_days + 1) * DAY
        return cls(seeds, seeds - history_days * DAY if history_days else ALWAYS)


def newest(lasts: Iterable[int]) -> int:
    """The time of the newest row of objects whose last rows are at `lasts`; 0 without any."""
    return max(lasts, default=0)
