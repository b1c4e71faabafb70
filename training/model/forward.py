"""The encoders' forward pass by numpy: for one payment the calls of torch and torch-geometric cost more than the sums.

It is `training.model.encoder.Encoders.forward` in evaluation mode, with the members side by side in one multiplication;
tests/model/test_forward.py holds them equal, and export compares whole scores before a version is written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from training.graph.block import History
from training.model.encoder import EDGE_FEATURES, LIMIT, edge_features, module_name

Array = NDArray[np.float64]
Members = Sequence[Mapping[str, Array]]  # the weights of each member, by name


@dataclass(frozen=True)
class Linear:
    """The layers of M members: `weight` [M, in, out], `bias` [M, 1, out]."""

    weight: Array
    bias: Array

    @classmethod
    def of(cls, members: Members, name: str, *, biased: bool = True) -> "Linear":
        """From the layer `name` of each member."""
        weight = np.stack([member[f"{name}.weight"].T for member in members])
        if not biased:
            return cls(weight, np.zeros((len(members), 1, weight.shape[2])))
        return cls(weight, np.stack([member[f"{name}.bias"][None] for member in members]))

    def __call__(self, values: Array) -> Array:
        """[M, B, out] of [B, in] or [M, B, in]."""
        made: Array = np.matmul(values, self.weight) + self.bias
        return made


@dataclass(frozen=True)
class Relation:
    """The layers of one relation: of a message, and of its target's mean and maximum and of the target itself.

    `message` [D + 1, M · hidden]: all members' weights side by side, the last row their biases.
    """

    message: Array
    aggregated: Linear
    target: Linear

    def __call__(self, own: Array, features: Array, present: Array) -> Array:
        """What the messages of a history with features [B, K, D + 1] bring to own [M, B, hidden]; all features of an
        entry that is absent are 0, and so is its message.
        """
        members, size, hidden = own.shape
        messages = features @ self.message  # [B, K, M · hidden]
        np.maximum(messages, 0.0, out=messages)
        count = present.sum(1).clip(1)[:, None]
        # A message is never negative, so those that are absent change neither the sum nor the maximum.
        parts = (messages.sum(1) / count, messages.max(1))
        both = np.concatenate([part.reshape(size, members, hidden) for part in parts], axis=2)
        return relu(self.aggregated(both.transpose(1, 0, 2)) + self.target(own))


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
    def of(cls, weights: Mapping[str, Tensor], sides: Sequence[str], count: int) -> "Forward":
        """From the weights of `Encoders` with `count` members by name. Raises KeyError: one is not there."""
        arrays = {name: tensor.detach().double().numpy() for name, tensor in weights.items()}
        members = [_part(arrays, f"members.{number}.") for number in range(count)]
        own, neighbour = (_part(arrays, f"message_builder.{name}.") for name in ("own", "neighbour"))
        return cls(
            (own["mean"], own["factor"]),
            (neighbour["mean"], neighbour["factor"]),
            Linear.of(members, "own.0"),
            {side: _relation(members, module_name(side)) for side in sides},
            (Linear.of(members, "mix.0"), Linear.of(members, "mix.3")),
            Linear.of(members, "classify"),
        )

    def __call__(self, own: Array, histories: Mapping[str, History]) -> Array:
        """The head's graph feature [B, 1] of own features [B, D]: the fraud logit, averaged over the members."""
        mean, factor = self.own_scale
        hidden = relu(self.own(_clipped(own - mean, factor)))
        parts = [hidden]
        for side, relation in self.relations.items():
            parts.append(relation(hidden, self._features(histories[side]), histories[side].present))
        first, second = self.mix
        embedding = relu(second(relu(first(np.concatenate(parts, axis=2)))))
        logit: Array = self.classify(embedding).mean(0)
        return logit

    def _features(self, history: History) -> Array:
        """The features [B, K, D] of a history's messages, and 1; zeros where there is no entry."""
        present, row, (mean, factor) = history.present, history.row.shape[2], self.neighbour_scale
        source = np.empty((*present.shape, len(mean)))
        np.subtract(history.row, mean[:row], out=source[..., :row])
        np.subtract(history.state, mean[row:], out=source[..., row:])
        gap, rank = history.gap.astype(np.float64), np.arange(history.gap.shape[1])
        made = np.empty((*present.shape, len(mean) + EDGE_FEATURES + 1))
        made[..., : len(mean)] = _clipped(source, factor)
        made[..., len(mean) : -1] = edge_features(gap, history.matured, history.label, history.same, rank)
        made[..., -1] = 1
        if not present.all():
            made *= present[..., None]
        return made


def relu(values: Array) -> Array:
    """The positive part."""
    made: Array = np.maximum(values, 0.0)
    return made


def _part(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    """Those whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _relation(members: Members, name: str) -> Relation:
    return Relation(
        np.concatenate([_with_bias(_part(member, f"message.{name}.0.")) for member in members], axis=1),
        Linear.of(members, f"convolve.{name}.lin_l"),
        Linear.of(members, f"convolve.{name}.lin_r", biased=False),
    )


def _with_bias(layer: Mapping[str, Array]) -> Array:
    made: Array = np.concatenate([layer["weight"].T, layer["bias"][None]])
    return made


def _clipped(centred: Array, factor: Array) -> Array:
    """Centred features in units of their deviation, in place."""
    centred *= factor
    return np.clip(centred, -LIMIT, LIMIT, out=centred)
