"""The encoders' forward pass by numpy: for one payment the calls of torch and torch-geometric cost more than the sums.

It is `training.model.encoder.Encoders.forward` in evaluation mode, with the members side by side in one multiplication;
tests/model/test_forward.py holds them equal, and export compares whole scores before a version is written.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from training.graph.block import Edges
from training.model.encoder import LIMIT, Encoder, Encoders, Scale, edge_features, module_name

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Linear:
    """The layers of M members: `weight` [M, in, out], `bias` [M, 1, out]."""

    weight: Array
    bias: Array

    @classmethod
    def of(cls, layers: list[nn.Module]) -> "Linear":
        """From one layer a member."""
        biases = [getattr(layer, "bias", None) for layer in layers]
        weight = np.stack([_array(layer.weight).T for layer in layers])  # type: ignore[arg-type]
        none = np.zeros((len(layers), 1, weight.shape[2]))
        return cls(weight, none if biases[0] is None else np.stack([_array(one)[None] for one in biases]))  # type: ignore[arg-type]

    def __call__(self, values: Array) -> Array:
        """[M, B, out] of [B, in] or [M, B, in]."""
        made: Array = np.matmul(values, self.weight) + self.bias
        return made


@dataclass(frozen=True)
class Relation:
    """The layers of one relation: of a message, and of its target's mean and maximum and of the target itself."""

    message: Linear
    aggregated: Linear
    target: Linear

    def __call__(self, own: Array, size: int, edges: Edges, features: Array) -> Array:
        """What the messages along edges with features [E, D] bring to `size` transactions [M, B, hidden]."""
        messages = relu(self.message(features))  # [M, E, hidden]
        padded = np.zeros((len(messages), size, 1 + edges.rank.max(initial=0), messages.shape[2]))
        padded[:, edges.target, edges.rank] = messages
        count = np.bincount(edges.target, minlength=size).clip(1)[:, None]
        # A message is never negative, so the zeros of the padding change neither the sum nor the maximum.
        both = np.concatenate([padded.sum(2) / count, padded.max(2)], axis=2)
        return relu(self.aggregated(both) + self.target(own))


@dataclass(frozen=True)
class Forward:
    """The encoders as arrays."""

    own_scale: tuple[Array, Array]
    neighbour_scale: tuple[Array, Array]
    own: Linear
    relations: Mapping[str, Relation]
    mix: tuple[Linear, Linear]
    classify: Linear

    @classmethod
    def of(cls, encoders: Encoders) -> "Forward":
        """From trained encoders."""
        members: list[Encoder] = list(encoders.members)  # type: ignore[arg-type]
        builder = encoders.message_builder
        return cls(
            _scale(builder.own),
            _scale(builder.neighbour),
            Linear.of([member.own[0] for member in members]),
            {side: _relation(members, module_name(side)) for side in members[0].sides},
            (Linear.of([member.mix[0] for member in members]), Linear.of([member.mix[3] for member in members])),
            Linear.of([member.classify for member in members]),
        )

    def __call__(self, own: Array, edges: Mapping[str, Edges]) -> Array:
        """The head's graph feature [B, 1] of own features [B, D]: the fraud logit, averaged over the members."""
        hidden = relu(self.own(_scaled(own, self.own_scale)))
        parts = [hidden]
        for side, relation in self.relations.items():
            one = edges[side]
            features = np.concatenate([_scaled(one.source, self.neighbour_scale), edge_features(one)], axis=1)
            parts.append(relation(hidden, len(own), one, features))
        first, second = self.mix
        embedding = relu(second(relu(first(np.concatenate(parts, axis=2)))))
        logit: Array = self.classify(embedding).mean(0)
        return logit


def relu(values: Array) -> Array:
    """The positive part."""
    made: Array = np.maximum(values, 0.0)
    return made


def _relation(members: list[Encoder], name: str) -> Relation:
    convolve = [member.convolve[name] for member in members]
    return Relation(
        Linear.of([member.message[name][0] for member in members]),  # type: ignore[index]
        Linear.of([one.lin_l for one in convolve]),  # type: ignore[misc]
        Linear.of([one.lin_r for one in convolve]),  # type: ignore[misc]
    )


def _scale(scale: Scale) -> tuple[Array, Array]:
    return _array(scale.mean), _array(scale.factor)


def _scaled(features: Array, scale: tuple[Array, Array]) -> Array:
    made: Array = np.minimum(np.maximum((features - scale[0]) * scale[1], -LIMIT), LIMIT)
    return made


def _array(tensor: Tensor) -> Array:
    made: Array = tensor.detach().double().numpy()
    return made
