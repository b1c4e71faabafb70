"""What a transaction may know: strictly earlier ones, the last K, and labels that have matured."""

import numpy as np
import pytest
import torch
from graphs import counted, earlier, graph, random_graph

from training.graph.block import DAY, RISK_DAYS, RISKS, SIDES, VOLUME_DAYS, VOLUMES
from training.graph.graph import Graph
from training.graph.history import Reader
from training.graph.velocity import SOURCES, STATE, state

DELAY = 30 * DAY


def numbers(reader: Reader, seed: int, side: str) -> list[int]:
    """The transactions in a history, by their first row feature."""
    history = reader.history(side, torch.tensor([seed]), reader.k)
    return history.row[0, history.present[0], 0].int().tolist()


def test_history_is_the_last_k_most_recent_first() -> None:
    """Of four earlier transactions of the card, k = 3 sees the last three; other cards' are not seen."""
    reader = Reader(graph([1, 2, 3, 4, 5, 6], [7, 7, 8, 7, 7, 7], [1, 2, 3, 4, 5, 6]), 3)
    assert numbers(reader, 5, "card") == [4, 3, 1]
    assert numbers(reader, 2, "card") == []


def test_a_tie_is_not_earlier() -> None:
    """Transactions of the same second do not see each other, whatever order they came in."""
    reader = Reader(graph([1, 5, 5, 5, 6], [7] * 5, [1] * 5), 4)
    assert numbers(reader, 1, "card") == numbers(reader, 2, "card") == numbers(reader, 3, "card") == [0]
    assert numbers(reader, 4, "merchant") == [3, 2, 1, 0]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("seed", range(3))
def test_the_fast_reading_is_the_plain_one(side: str, seed: int) -> None:
    """On random graphs full of ties, histories equal those found by looking at each transaction."""
    made, k = random_graph(300, seed), 5
    history = Reader(made, k).history(side, torch.arange(300), k)
    other = made.entities["merchant" if side == "card" else "card"]
    for i in range(300):
        found = earlier(made, i, side)[:k]
        there = history.present[i]
        assert int(there.sum()) == len(found)
        gaps = [int(made.time[i] - made.time[j]) for j in found]
        assert history.gap[i, there].tolist() == gaps
        assert torch.equal(history.row[i, there], made.row[found])
        today = int(made.time[i]) // DAY
        assert history.matured[i, there].tolist() == [int(made.known_day[j]) < today for j in found]
        known = [float(int(made.known_day[j]) < today and made.label[j] == 1) for j in found]
        assert history.label[i, there].tolist() == known
        assert history.same[i, there].tolist() == [bool(other[j] == other[i]) for j in found]


@pytest.mark.parametrize("delay", [0, DELAY])
def test_counts_are_those_of_their_windows(delay: int) -> None:
    """Volumes and matured counts equal plain counting, also without a delay: a label of the day is unknown."""
    made = random_graph(300, 5, delay)
    block = Reader(made, 4).block(torch.arange(300))
    for i in range(0, 300, 7):
        for side in SIDES:
            for days in VOLUME_DAYS:
                plain = counted(made, i, side, days)
                for what in ("volume", "amount"):
                    column = VOLUMES.index(f"{side}_{what}_{days}d")
                    assert block.volume[i, column] == np.float32(plain[what]), (i, side, what, days)
            for days in RISK_DAYS:
                plain = counted(made, i, side, days)
                for what in ("matured", "frauds"):
                    assert block.risk[i, RISKS.index(f"{side}_{what}_{days}d")] == plain[what], (i, side, what, days)


def test_a_state_is_what_velocity_said_at_the_time() -> None:
    """A neighbour's state in a history is its own state, computed when it happened."""
    made = random_graph(200, 9)
    reader = Reader(made, 6)
    own = state(reader.block(torch.arange(200)).double(), SOURCES).float()
    history = reader.history("card", torch.tensor([150]), 6)
    assert torch.equal(history.state[0, history.present[0]], own[earlier(made, 150, "card")[:6]])
    assert own.shape == (200, len(STATE))


def test_an_empty_history_is_zeros() -> None:
    """Where nothing is there, nothing is said: rows, states, gaps and labels are zero and nothing is present."""
    block = Reader(graph([5], [1], [1], [1]), 3).block(torch.tensor([0]))
    for history in block.histories.values():
        assert not history.present.any()
        for values in (history.row, history.state, history.gap, history.label):
            assert not values.any()
    assert not block.volume.any()
    assert not block.risk.any()


def test_an_unknown_label_is_no_fraud() -> None:
    """An immature row's label is −1; it counts for nobody."""
    made: Graph = graph([0, 40 * DAY], [1, 1], [1, 1], [-1, 0])
    block = Reader(made, 2).block(torch.tensor([1]))
    assert block.histories["card"].label.sum() == 0
    assert block.risk[0, RISKS.index("card_frauds_90d")] == 0


@pytest.mark.parametrize("side", SIDES)
def test_edges_are_the_histories_entries(side: str) -> None:
    """Read straight from the graph (training) or out of a block (scoring), the same edges say the same."""
    made = random_graph(300, 4)
    reader, seeds = Reader(made, 6), torch.arange(300)
    straight = reader.edges(seeds, 4)[side].double()
    through = reader.block(seeds).recent(4).edges()[side]
    for name in ("target", "rank", "source", "gap", "label", "matured", "same"):
        assert torch.equal(getattr(straight, name), getattr(through, name)), name
