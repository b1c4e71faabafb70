"""No score may depend on what happened at the same time or later, nor on labels that are not known yet."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from graphs import random_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from trained_model import Trained

from training.graph.graph import Graph, load_graph
from training.graph.history import Reader


def spoiled(graph: Graph, when: int, delay: int, rng: np.random.Generator) -> Graph:
    """The same graph with all from `when` on, and each label younger than `delay` by then, changed at random."""
    late, unknown = graph.time >= when, graph.time > when - delay
    row, label = graph.row.clone(), graph.label.clone()
    entities = {side: codes.clone() for side, codes in graph.entities.items()}
    row[late] = torch.from_numpy(rng.normal(size=(int(late.sum()), row.shape[1])).astype(np.float32))
    label[unknown] = torch.from_numpy(rng.integers(0, 2, int(unknown.sum())).astype(np.int8))
    for codes in entities.values():
        codes[late] = torch.from_numpy(rng.integers(1, int(codes.max()) + 1, int(late.sum())).astype(np.int32))
    return replace(graph, row=row, label=label, entities=entities)


def test_the_future_changes_no_earlier_score(trained: Trained) -> None:
    """Changing rows, cards, merchants and labels from a moment on changes no score before it, by not one bit."""
    graph, config = load_graph(trained.dataset, trained.model.row), trained.model.config
    when = int(graph.time[len(graph) * 9 // 10])
    changed = spoiled(graph, when, config.label_delay, np.random.default_rng(1))
    past = (graph.time < when).nonzero()[:, 0][-3000:]
    before, after = (
        np.concatenate([trained.model.score(block) for block in Reader(g, config.k, config.label_delay).blocks(past)])
        for g in (graph, changed)
    )
    assert np.array_equal(before, after)


def test_the_past_does_change_scores(trained: Trained) -> None:
    """The test above can fail: what is earlier is heard."""
    graph, config = load_graph(trained.dataset, trained.model.row), trained.model.config
    changed = spoiled(graph, 0, config.label_delay, np.random.default_rng(1))
    seeds = torch.arange(len(graph) - 500, len(graph))
    rows = graph.row.clone()
    rows[: len(graph) - 500] = changed.row[: len(graph) - 500]
    before, after = (
        trained.model.score(Reader(g, config.k, config.label_delay).block(seeds))
        for g in (graph, replace(graph, row=rows))
    )
    assert not np.array_equal(before, after)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.integers(1, 149), delay_days=st.sampled_from([0, 1, 30]))
def test_blocks_know_nothing_of_later(seed: int, cut: int, delay_days: int) -> None:
    """For any graph, cut and delay, the blocks before the cut stay the same when everything after it changes."""
    graph, delay = random_graph(150, seed), delay_days * 86_400
    when = int(graph.time[cut])
    changed = spoiled(graph, when, max(delay, 1), np.random.default_rng(seed))
    past = (graph.time < when).nonzero()[:, 0]
    one, other = (Reader(g, 4, delay).block(past) for g in (graph, changed))
    assert torch.equal(one.volume, other.volume)
    assert torch.equal(one.risk, other.risk)
    for side in ("card", "merchant"):
        for name in ("row", "state", "gap", "label", "matured", "same", "present"):
            assert torch.equal(getattr(one.histories[side], name), getattr(other.histories[side], name)), (side, name)


@pytest.mark.parametrize("delay_days", [30, 60])
def test_a_label_counts_from_its_delay_on(trained: Trained, delay_days: int) -> None:
    """A label is heard at exactly `label_delay` after its transaction and not a second before."""
    graph = replace(random_graph(2, 1), label=torch.tensor([1, 0], dtype=torch.int8))
    same = {side: torch.tensor([1, 1]) for side in graph.entities}
    for second, validation_messages in ((-1, 0.0), (0, 1.0)):
        time = torch.tensor([0, delay_days * 86_400 + second])
        block = Reader(replace(graph, time=time, entities=same), 2, delay_days * 86_400).block(torch.tensor([1]))
        assert block.histories["card"].label.sum() == validation_messages
        assert block.risk.sum() == validation_messages * 16  # matured and frauds of all four windows on both sides
