"""One answer of `fraud_live`: as tensors, and as the online store keeps it for a retry."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from training.live.record import Damaged
from training.serving import Tensors
from training.serving.reasons import MOST


@dataclass(frozen=True)
class LiveAnswer:
    """`used`: how many earlier transactions of each relation were read. `degraded`: "", or why not all was known."""

    probability: float
    decision: bool
    used: tuple[int, ...]
    version: str
    degraded: str = ""
    reasons: tuple[str, ...] = ()

    def dumps(self) -> bytes:
        """As the store keeps it."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def loads(cls, kept: bytes) -> "LiveAnswer":
        """The answer that was kept.

        Raises:
            Damaged: it is none, or of a release with other fields.
        """
        try:
            told = json.loads(kept)
            return cls(**told | {"used": tuple(told["used"]), "reasons": tuple(told["reasons"])})
        except (ValueError, TypeError, KeyError) as error:
            raise Damaged(f"an answer that was kept cannot be read: {type(error).__name__}") from error

    @staticmethod
    def tensors(answers: Sequence["LiveAnswer"]) -> Tensors:
        """The output tensors of B answers."""
        padded = [[*one.reasons, *[""] * (MOST - len(one.reasons))] for one in answers]
        return {
            "PROBABILITY": np.array([[one.probability] for one in answers], dtype=np.float32),
            "DECISION": np.array([[one.decision] for one in answers], dtype=bool),
            "REASONS": _texts(padded),
            "HISTORY_USED": np.array([one.used for one in answers], dtype=np.int32),
            "VERSION": _texts([[one.version] for one in answers]),
            "DEGRADED": _texts([[one.degraded] for one in answers]),
        }


def _texts(rows: Sequence[Sequence[str]]) -> np.ndarray:  # type: ignore[type-arg]
    return np.array([[text.encode() for text in row] for row in rows], dtype=np.object_)
