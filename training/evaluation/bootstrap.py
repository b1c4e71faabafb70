"""Bootstrap intervals of AUC-ROC and average precision: exact, and in milliseconds instead of seconds.

Both metrics depend on the N non-frauds only through *how many* of their scores lie between which frauds' scores. So a
resample of N rows with replacement has the same distribution as one multinomial draw of N over these intervals, of
which there are a few hundred or thousand. Frauds and non-frauds are resampled separately (stratified). To pair several
models, one draw is made over the cells of all models at once, so that every model sees the same resampled rows.

With the m distinct fraud scores t_1 < … < t_m, a_j resampled frauds at t_j, b_j non-frauds at t_j and B_j below it:

    AUC = sum_j a_j (B_j + b_j / 2) / (F N)            the chance that a fraud scores higher; a tie counts one half
    AP  = sum_j (a_j / F) P_j                          P_j is the precision at the threshold t_j
    P_j = A_j / (A_j + N - B_j),  A_j = a_j + … + a_m  frauds at or above t_j, over all rows at or above it
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int8]
Scores = NDArray[np.float32]
Draws = NDArray[np.float64]
CELLS = 20_000_000  # drawn at once: memory does not grow with the test rows


@dataclass(frozen=True)
class Resampled:
    """The metrics [R] of R resamples."""

    auc_roc: Draws
    average_precision: Draws

    @classmethod
    def joined(cls, parts: "Sequence[Resampled]") -> "Resampled":
        """The metrics of all parts, in order."""
        return cls(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in ("auc_roc", "average_precision"))
        )


def resample(labels: Labels, scores: list[Scores], draws: int, seed: int) -> list[Resampled]:
    """Returns the metrics of each model over the same `draws` resamples of the rows.

    `labels` is 1 for fraud. `labels` and each model in `scores` have one value per row, of F frauds and N non-frauds.
    """
    rng = np.random.default_rng(seed)
    fraud = labels == 1
    frauds = int(fraud.sum())
    # [R, F] how often each resample contains each fraud
    picked = rng.multinomial(frauds, np.full(frauds, 1 / frauds), size=draws)
    ladders = [_Ladder.of(model[fraud]) for model in scores]
    # [models, N]: a non-fraud's cells under all models; equal columns are one cell of the joint draw
    cells = np.stack([ladder.cell(model[~fraud]) for ladder, model in zip(ladders, scores, strict=True)])
    kinds, others = np.unique(cells, axis=1, return_counts=True)
    parts: list[list[Resampled]] = [[] for _ in ladders]
    for some in np.array_split(picked, -(-draws * len(others) // CELLS)):
        # [R, M] how many non-frauds each resample has in each of the M joint cells
        drawn = rng.multinomial(int(others.sum()), others / others.sum(), size=len(some))
        for number, ladder in enumerate(ladders):
            parts[number].append(ladder.metrics(some, drawn, kinds[number]))
    return [Resampled.joined(part) for part in parts]


def interval(draws: Draws, level: float = 0.95) -> list[float]:
    """Returns the central interval of this level, by the percentile method."""
    return [float(bound) for bound in np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])]


def differences(candidate: Resampled, other: Resampled) -> dict[str, dict[str, float]]:
    """Returns the `difference` of both metrics."""
    return {
        "auc_roc": difference(candidate.auc_roc, other.auc_roc),
        "average_precision": difference(candidate.average_precision, other.average_precision),
    }


def difference(candidate: Draws, other: Draws) -> dict[str, float]:
    """Returns mean, 5 % and 95 % quantile of candidate − other. Each quantile is a one-sided 95 % bound."""
    gained = candidate - other
    low, high = np.quantile(gained, [0.05, 0.95])
    return {"mean": float(gained.mean()), "low": float(low), "high": float(high)}


@dataclass(frozen=True)
class _Ladder:
    """One model's m distinct fraud scores, ascending: the `rungs` [m], and the index `rung` [F] of each fraud's score.

    The rungs cut the scores into 2m + 1 cells: cell 2j lies between rungs j − 1 and j, cell 2j + 1 is rung j itself.
    """

    rungs: Scores
    rung: NDArray[np.intp]

    @classmethod
    def of(cls, frauds: Scores) -> "_Ladder":
        return cls(*np.unique(frauds, return_inverse=True))

    def cell(self, scores: Scores) -> NDArray[np.intp]:
        return np.searchsorted(self.rungs, scores, "left") + np.searchsorted(self.rungs, scores, "right")

    def metrics(self, picked: NDArray[np.int64], drawn: NDArray[np.int64], cells: NDArray[np.intp]) -> Resampled:
        """Returns AUC and AP. `picked` [R, F] counts frauds, `drawn` [R, M] non-frauds in each of the `cells` [M]."""
        frauds = _summed(picked, self.rung, len(self.rungs))  # [R, m] a_j
        others = _summed(drawn, cells, 2 * len(self.rungs) + 1)  # [R, 2m + 1], even: between rungs, odd: b_j
        total, most = others.sum(1, keepdims=True), frauds.sum(1, keepdims=True)  # [R, 1] N and F
        below = np.cumsum(others, axis=1)[:, :-1:2]  # [R, m] B_j
        auc = (frauds * (below + others[:, 1::2] / 2)).sum(1) / (total * most)[:, 0]
        hits = np.cumsum(frauds[:, ::-1], axis=1)[:, ::-1]  # [R, m] A_j
        precision = hits / np.maximum(hits + total - below, 1)  # 0 / 0 only where a_j is 0: the term vanishes
        return Resampled(auc, (frauds * precision).sum(1) / most[:, 0])


def _summed(counts: NDArray[np.int64], group: NDArray[np.intp], groups: int) -> Draws:
    """Sums columns by group: [R, M] → [R, G]."""
    order = np.argsort(group, kind="stable")
    present, first = np.unique(group[order], return_index=True)
    sums = np.zeros((len(counts), groups))
    sums[:, present] = np.add.reduceat(counts[:, order], first, axis=1)
    return sums
