"""No score may depend on what happened at the same time or later, nor on labels that are not known yet."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from graphs import graph, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from trained_model import Trained

from training.graph.block import DAY, RISKS
from training.graph.graph import NEVER_DAY, Graph, load_graph
from training.graph.history import Reader


def spoiled(graph: Graph, when: int, rng: np.random.Generator) -> Graph:
    """The same graph with all from `when` on changed at random, and every report that was not known the day before.

    Such a report says something else, comes on another day, or never; where there was none, there may be one.
    """
    late, today = graph.time >= when, when // DAY
    unknown = graph.known_day >= today
    row, label, known_day = graph.row.clone(), graph.label.clone(), graph.known_day.clone()
    entities = {side: codes.clone() for side, codes in graph.entities.items()}
    row[late] = torch.from_numpy(rng.normal(size=(int(late.sum()), row.shape[1])).astype(np.float32))
    label[unknown] = torch.from_numpy(rng.integers(0, 2, int(unknown.sum())).astype(np.int8))
    days = today + rng.integers(0, 60, int(unknown.sum()))
    known_day[unknown] = torch.from_numpy(np.where(rng.random(len(days)) < 0.2, NEVER_DAY, days).astype(np.int32))
    for codes in entities.values():
        codes[late] = torch.from_numpy(rng.integers(1, int(codes.max()) + 1, int(late.sum())).astype(np.int32))
    return replace(graph, row=row, label=label, known_day=known_day, entities=entities)


def test_the_future_changes_no_earlier_score(trained: Trained) -> None:
    """Changing rows, cards, merchants and labels from a moment on changes no score before it, by not one bit."""
    graph, config = load_graph(trained.dataset, trained.model.row), trained.model.config
    when = int(graph.time[len(graph) * 9 // 10])
    changed = spoiled(graph, when, np.random.default_rng(1))
    past = (graph.time < when).nonzero()[:, 0][-3000:]
    before, after = (
        np.concatenate([trained.model.score(block) for block in Reader(g, config.k).blocks(past)])
        for g in (graph, changed)
    )
    assert np.array_equal(before, after)


def test_the_past_does_change_scores(trained: Trained) -> None:
    """The test above can fail: what is earlier is heard."""
    graph, config = load_graph(trained.dataset, trained.model.row), trained.model.config
    changed = spoiled(graph, 0, np.random.default_rng(1))
    seeds = torch.arange(len(graph) - 500, len(graph))
    rows = graph.row.clone()
    rows[: len(graph) - 500] = changed.row[: len(graph) - 500]
    before, after = (trained.model.score(Reader(g, config.k).block(seeds)) for g in (graph, replace(graph, row=rows)))
    assert not np.array_equal(before, after)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.integers(1, 149), delay_days=st.sampled_from([0, 1, 30]))
def test_blocks_know_nothing_of_later(seed: int, cut: int, delay_days: int) -> None:
    """For any graph, cut and delay, the blocks before the cut stay the same when everything after it changes."""
    graph = random_graph(150, seed, delay_days * DAY)
    when = int(graph.time[cut])
    changed = spoiled(graph, when, np.random.default_rng(seed))
    past = (graph.time < when).nonzero()[:, 0]
    one, other = (Reader(g, 4).block(past) for g in (graph, changed))
    assert torch.equal(one.volume, other.volume)
    assert torch.equal(one.risk, other.risk)
    for side in ("card", "merchant"):
        for name in ("row", "state", "gap", "label", "matured", "same", "present"):
            assert torch.equal(getattr(one.histories[side], name), getattr(other.histories[side], name)), (side, name)


@pytest.mark.parametrize("second", [0, 1, DAY - 1])
@pytest.mark.parametrize("reported", [0, 1, 30])
def test_a_label_counts_from_the_day_after_its_report_on(reported: int, second: int) -> None:
    """At no second of the day on which it was reported, at every second of the next."""
    for later, heard in ((0, 0.0), (1, 1.0)):
        now = max((reported + later) * DAY + second, 1)
        made = graph([0, now], [1, 1], [1, 1], [1, 0], delay=reported * DAY)
        block = Reader(made, 2).block(torch.tensor([1]))
        assert block.histories["card"].label.sum() == heard
        assert block.histories["card"].matured.sum() == heard
        assert block.risk.sum() == heard * 20  # matured and frauds of all five windows on both sides


def test_reports_of_a_window_are_those_of_its_days() -> None:
    """A report of the day D − N counts for N days, one of the day before does not; whenever the payment was."""
    for age, counts in ((7, 1), (8, 0)):
        made = graph([0, 100 * DAY], [1, 1], [1, 1], [1, 0], delay=(100 - age) * DAY)
        block = Reader(made, 2).block(torch.tensor([1]))
        assert block.risk[0, RISKS.index("card_frauds_7d")] == counts
        assert block.risk[0, RISKS.index("card_frauds_30d")] == 1
