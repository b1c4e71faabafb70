"""The server's arithmetic is training's: features and encoders by numpy give what torch gives, block for block."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from graphs import random_graph

from training.graph.block import SIDES, Block, History
from training.graph.history import Reader
from training.graph.velocity import SOURCES
from training.model import features
from training.model.config import TrainConfig
from training.model.encoder import Encoders
from training.model.forward import Forward

K, FAN_OUT = 6, 4


def by_numpy(block: Block) -> Block:
    """The same block in arrays of numpy."""
    histories = {
        side: History(*(getattr(one, field.name).numpy() for field in fields(History)))
        for side, one in block.histories.items()
    }
    return Block(block.row.numpy(), histories, block.volume.numpy(), block.risk.numpy())


def encoders(seed: int, members: int) -> Encoders:
    """Encoders with any weights and any standardisation, as they score."""
    torch.manual_seed(seed)
    config = TrainConfig(k=K, fan_out=FAN_OUT, hidden_dim=5)
    made = Encoders(features.width(SOURCES, config), members).double().eval()
    for scale in (made.message_builder.own, made.message_builder.neighbour):
        scale.fit(torch.randn(50, len(scale.mean)).double())
    return made


def by_name(made: Encoders) -> Forward:
    """The same from their weights."""
    return Forward.of(made.state_dict(), SIDES, len(made.members))


@pytest.mark.parametrize(("seed", "members"), [(1, 1), (2, 3), (3, 2)])
def test_inputs_are_equal(seed: int, members: int) -> None:
    """Of every transaction, those without a history included: within 1e-6, as sums are in another order."""
    graph = random_graph(200, seed)
    block = Reader(graph, K).block(torch.arange(200))
    torch_encoders = encoders(seed, members)
    expected = features.inputs(block, SOURCES, (*features.OWN, "embedding"), torch_encoders, FAN_OUT)
    plain = by_numpy(block)
    found = features.inputs(plain, SOURCES, (*features.OWN, "embedding"), by_name(torch_encoders), FAN_OUT)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= 1e-6
    assert np.array_equal(features.states_of(plain, SOURCES), features.states_of(block, SOURCES))


def test_a_batch_without_any_history() -> None:
    """The first transactions of all entities: no edge at all."""
    block = Reader(random_graph(1, 1), K).block(torch.arange(1))
    torch_encoders = encoders(4, 2)
    groups = (*features.OWN, "embedding")
    expected = features.inputs(block, SOURCES, groups, torch_encoders, FAN_OUT)
    found = features.inputs(by_numpy(block), SOURCES, groups, by_name(torch_encoders), FAN_OUT)
    assert np.abs(found - expected).max() <= 1e-6


def test_an_answer_does_not_depend_on_the_batch() -> None:
    """One transaction alone has the inputs that it has among others."""
    block = by_numpy(Reader(random_graph(200, 5), K).block(torch.arange(200)))
    forward, groups = by_name(encoders(5, 3)), (*features.OWN, "embedding")
    together = features.inputs(block, SOURCES, groups, forward, FAN_OUT)
    for row in (0, 57, 199):
        one = slice(row, row + 1)
        histories = {
            side: History(*(getattr(history, field.name)[one] for field in fields(History)))
            for side, history in block.histories.items()
        }
        alone = features.inputs(
            Block(block.row[one], histories, block.volume[one], block.risk[one]), SOURCES, groups, forward, FAN_OUT
        )
        assert np.abs(alone - together[one]).max() <= 1e-6
