"""The block of one payment, from its clean columns and the state of its entities: what the model is computed from."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.schema import FeatureSchema
from training.graph.block import DAY, RISK_DAYS, VOLUME_DAYS, Block, History
from training.live.definition import LiveDefinition
from training.live.keys import as_number
from training.live.record import EntityState
from training.serving.row_features import Columns, RowFeatures


@dataclass(frozen=True)
class PaymentFeaturiser:
    """Makes blocks with the features of `fitted`, in the order of `row`."""

    fitted: FeatureSchema
    row: tuple[str, ...]
    definition: LiveDefinition

    @cached_property
    def known(self) -> dict[str, dict[int, str]]:
        """The texts that this version was fitted on, by category and hash."""
        return self.definition.known_texts(self.fitted)

    @cached_property
    def _features(self) -> RowFeatures:
        return RowFeatures(self.fitted, self.row)

    def block(self, clean: Columns, keys: Mapping[str, bytes], states: Mapping[str, EntityState]) -> Block:
        """The block of one payment: `clean` columns [1], its entities' hashes and states."""
        time = int(clean["time"][0])
        used = {side: self.used(state, time) for side, state in states.items()}
        features = self._rows(clean, np.concatenate(list(used.values())))
        at, histories = 1, {}
        for side, entries in used.items():
            histories[side] = self._history(entries, features[at : at + len(entries)], time, keys)
            at += len(entries)
        unit = 10**self.definition.data.amount.minor_units
        volumes = []
        for state in states.values():
            counts, minor = state.volumes(time, VOLUME_DAYS)
            volumes += [counts, (minor / unit).astype(np.float32)]
        risks = [state.risks(time, RISK_DAYS) for state in states.values()]
        return Block(features[:1], histories, np.concatenate(volumes)[None], np.concatenate(risks)[None])

    def used(self, state: EntityState, time: int) -> NDArray[np.void]:
        """The k last strictly earlier entries, most recent first."""
        later = state.later(time)
        return state.entries[later : later + self.definition.k]

    def _rows(self, clean: Columns, entries: NDArray[np.void]) -> NDArray[np.float32]:
        """Row features [1 + H, F] of the payment and of H entries."""
        past = self.definition.clean(entries, self.known)
        return self._features({name: np.concatenate([clean[name], values]) for name, values in past.items()})

    def _history(
        self, entries: NDArray[np.void], features: NDArray[np.float32], time: int, keys: Mapping[str, bytes]
    ) -> History:
        matured = entries["known"] < time // DAY
        same = [entries[f"key {side}"] == as_number(hashed) for side, hashed in keys.items()]
        filled: dict[str, Any] = {
            "row": features,
            "state": entries["state"],
            "gap": (time - entries["time"]).astype(np.float32),
            "label": (matured & (entries["fraud"] == 1)).astype(np.float32),
            "matured": matured,
            "same": np.logical_and.reduce(same),
            "present": np.ones(len(entries), dtype=bool),
        }
        return History(**{name: self._padded(values) for name, values in filled.items()})

    def _padded(self, values: NDArray[Any]) -> NDArray[Any]:
        full = np.zeros((1, self.definition.k, *values.shape[1:]), dtype=values.dtype)
        full[0, : len(values)] = values
        return full
