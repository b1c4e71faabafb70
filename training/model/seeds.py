"""The seeds: the transactions that are trained on. Seeds are under-sampled; the graph and the test set never are."""

from dataclasses import dataclass

import torch
from torch import Tensor

from training.graph.graph import Graph
from training.outcome import Permanent


@dataclass(frozen=True)
class Seeds:
    """All frauds of a split and some of its other transactions, in time's order: `ids` [S], `labels` [S].

    `keep` is the share of the others that was kept; a metric at natural prevalence weights them by 1/keep.
    """

    ids: Tensor
    labels: Tensor
    keep: float


def thinned(graph: Graph, split: int, ratio: float, seed: int) -> Seeds:
    """All frauds of `split` and `ratio` times as many others."""
    frauds = int((graph.label[graph.where(split)] == 1).sum())
    return _drawn(graph, split, round(ratio * frauds), seed)


def at_most(graph: Graph, split: int, rows: int, seed: int) -> Seeds:
    """All of `split`, or all its frauds and enough others to make `rows`."""
    frauds = int((graph.label[graph.where(split)] == 1).sum())
    return _drawn(graph, split, max(rows - frauds, 1), seed)


def fewer(seeds: Seeds, ratio: float, seed: int) -> Tensor:
    """Positions [T] among the seeds, in order, of all frauds and at most `ratio` times as many others."""
    frauds, others = (seeds.labels == 1).nonzero()[:, 0], (seeds.labels != 1).nonzero()[:, 0]
    drawn = torch.randperm(len(others), generator=torch.Generator().manual_seed(seed))
    return torch.cat([frauds, others[drawn[: round(ratio * len(frauds))]]]).sort().values


def _drawn(graph: Graph, split: int, wanted: int, seed: int) -> Seeds:
    rows = graph.where(split)
    fraud = graph.label[rows] == 1
    frauds, others = rows[fraud], rows[~fraud]
    if not len(frauds) or not len(others):
        raise Permanent(f"split {split} holds {len(frauds)} frauds and {len(others)} others; it needs both")
    generator = torch.Generator().manual_seed(seed)
    chosen = others[torch.randperm(len(others), generator=generator)[:wanted]]
    ids = torch.cat([frauds, chosen]).sort().values
    return Seeds(ids, graph.label[ids], len(chosen) / len(others))
