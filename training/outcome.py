"""How a stage's work ends: a result, or one of three errors. Nothing of the pod stands behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

REASON_LENGTH = 2000  # characters


@dataclass(frozen=True)
class StageResult:
    """What a stage's function hands back: URIs it wrote by name, figures, its own details, a page for the KFP UI."""

    outputs: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    html: str = ""
    roc: Sequence[tuple[float, float, float]] = ()  # false positive rate, true positive rate, threshold; for the KFP UI


class StageError(Exception):
    """Work that did not end as `ok`; what it wrote and measured until then still goes into the report."""

    def __init__(
        self,
        reason: str,
        details: Mapping[str, Any] | None = None,
        outputs: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.result = StageResult(outputs or {}, metrics or {}, details or {})


class Refused(StageError):
    """The stage did its work and its judgement is no: nothing new was accepted, say."""


class Permanent(StageError):
    """Trying again cannot help: bad data, a wrong setting, a fenced deployment."""


class Transient(StageError):
    """Trying again may help: throttled, evicted, not reachable. Any exception that is not ours counts as this."""
