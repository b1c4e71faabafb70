"""The threshold as a choice: what ten of them would catch, cost and save a day, and the curve between them.

All figures are of the test rows at natural prevalence, divided by its days. An alert costs `alert_cost` to look at. Of
a fraud that an alert stops, `recovered_share` of the amount is saved; the rest, and all of a missed one, is lost.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.model.metrics import DAY, Labels, Scores

ROWS, CURVE = 10, 60
IN_USE, BUDGET, COST = "in use", "alert budget", "most money"
APART = 1.05  # factor by which the alerts of two rows differ at least, unless a rule names them
DIGITS = 6  # significant ones of a figure on record

Amounts = NDArray[np.float64]


@dataclass(frozen=True)
class Costs:
    """What an alert costs in the data's currency, which share of a stopped fraud is saved, and the alerts budget."""

    alert_cost: float
    recovered_share: float
    alerts_a_day: int


def choices(
    labels: Labels, scores: Scores, times: NDArray[np.int64], amounts: Amounts, in_use: float, costs: Costs
) -> dict[str, Any]:
    """Return `evaluation["thresholds"]`: `rows`, the `curve`, and what they were computed with.

    Each of the inputs has one value per row [N]; amounts in the data's currency, refunds count as 0.
    """
    days = max(int(np.ptp(times // DAY)) + 1, 1)
    ladder = _Cumulated.of(labels, scores, np.maximum(amounts, 0.0), days, costs)
    named = {IN_USE: ladder.at(in_use), BUDGET: ladder.within(costs.alerts_a_day), COST: ladder.cheapest()}
    chosen = _spread(ladder, sorted(set(named.values())))
    rules = {step: ", ".join(name for name, at in named.items() if at == step) for step in named.values()}
    return {
        "alert_cost": costs.alert_cost,
        "recovered_share": costs.recovered_share,
        "alerts_a_day": costs.alerts_a_day,
        "days": days,
        "fraud_amount_a_day": _round(ladder.all_fraud / days),
        "rows": [ladder.row(step) | {"rule": rules.get(step, "")} for step in chosen],
        "curve": [ladder.row(step) for step in ladder.evenly(CURVE)],
    }


@dataclass(frozen=True)
class _Cumulated:
    """Cumulated over the distinct scores, highest first [S]: alerts, frauds among them, and the frauds' amounts."""

    scores: Amounts
    alerts: Amounts
    caught: Amounts
    stopped: Amounts
    frauds: int
    all_fraud: float
    days: int
    costs: Costs

    @classmethod
    def of(cls, labels: Labels, scores: Scores, amounts: Amounts, days: int, costs: Costs) -> "_Cumulated":
        order = np.argsort(-scores, kind="stable")
        ranked, fraud = scores[order], labels[order] == 1
        last = np.append(ranked[1:] != ranked[:-1], True)  # equal scores are decided together
        lost = np.cumsum(np.where(fraud, amounts[order], 0.0))
        alerts = np.arange(1, len(ranked) + 1, dtype=np.float64)
        caught = np.cumsum(fraud).astype(np.float64)
        found = (ranked[last].astype(np.float64), alerts[last], caught[last], lost[last])
        return cls(*found, int(fraud.sum()), float(lost[-1]), days, costs)

    def at(self, threshold: float) -> int:
        """The lowest step whose score is at least the threshold; the first one if none is."""
        reached = self.scores >= np.float32(threshold)
        return max(int(reached.sum()) - 1, 0)

    def within(self, alerts_a_day: int) -> int:
        """The last step that stays within so many alerts a day on average; the first one if none does."""
        return max(int((self.alerts <= alerts_a_day * self.days).sum()) - 1, 0)

    def cheapest(self) -> int:
        """The step that saves most after the cost of its alerts."""
        return int(np.argmax(self.costs.recovered_share * self.stopped - self.costs.alert_cost * self.alerts))

    def evenly(self, count: int) -> list[int]:
        """At most `count` steps whose alerts grow by a factor; both ends are among them."""
        wanted = np.geomspace(self.alerts[0], self.alerts[-1], count)
        return [int(step) for step in np.unique(np.searchsorted(self.alerts, wanted).clip(0, len(self.alerts) - 1))]

    def row(self, step: int) -> dict[str, Any]:
        """What it would be to decide from this step's score on, a day."""
        alerts, caught, stopped = (float(column[step]) for column in (self.alerts, self.caught, self.stopped))
        saved = self.costs.recovered_share * stopped
        money = {
            "saved": saved,
            "lost": self.all_fraud - saved,
            "alert_costs": self.costs.alert_cost * alerts,
            "net": saved - self.costs.alert_cost * alerts,
        }
        figures = {"alerts": alerts, **money}
        return {
            "threshold": float(self.scores[step]),  # exact, so that it can be put into a setting
            "precision": _round(caught / alerts),
            "recall": _round(caught / max(self.frauds, 1)),
            **{f"{name}_a_day": _round(value / self.days) for name, value in figures.items()},
        }


def _spread(ladder: _Cumulated, named: list[int]) -> list[int]:
    """The named steps and others around them, up to `ROWS`, from few alerts to ten times the most of a named one."""
    least, most = ladder.alerts[named[0]] / 10, ladder.alerts[named[-1]] * 10
    chosen = set(named)
    for count in range(ROWS, 4 * ROWS):  # neighbours may be one step, so more are asked for until there are enough
        wanted = np.geomspace(max(least, ladder.alerts[0]), min(most, ladder.alerts[-1]), count)
        for step in np.searchsorted(ladder.alerts, wanted).clip(0, len(ladder.alerts) - 1).tolist():
            if len(chosen) < ROWS and all(_apart(ladder.alerts[step], ladder.alerts[other]) for other in chosen):
                chosen.add(step)
    return sorted(chosen)


def _apart(one: float, other: float) -> bool:
    return max(one, other) >= APART * min(one, other)


def _round(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
