"""One answer of live scoring, as it travels on the stream of the online store. Nothing heavy is imported here."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

LONGEST_ID, LONGEST_TEXT, LONGEST_REQUEST = 256, 64 * 1024, 4 * 1024 * 1024  # characters


def stream(model: str) -> str:
    """The stream of a model's answers in the online store. The braces are Valkey Cluster's hash tag."""
    return f"fraudloop:{{{model}}}:scores"


@dataclass(frozen=True)
class ScoreRecord:
    """One answer. `transaction` is the line of the declared columns, its entity columns replaced by their keyed keys.

    `at` is when it was answered (seconds), `time` the transaction's own; `degraded` says why no history was read ("" if
    it was); `request` is, for a sample of requests, the JSON of the `fraud_score` request that gives this very score.
    `line` is, where the setting `log_lines` asks for it, the transaction with its entities in clear (`landing`).
    """

    request_id: str
    at: float
    time: int
    transaction: str
    probability: float
    decision: bool
    threshold: float
    version: str
    definition: str
    degraded: str = ""
    latency_us: int = 0
    request: str = ""
    line: str = ""

    def fields(self) -> dict[str, str]:
        """As XADD takes it."""
        return {name: _told(value) for name, value in asdict(self).items()}


def parse(found: Mapping[bytes, bytes]) -> ScoreRecord:
    """The record in the fields of one entry of the stream; fields that it does not know are left out.

    Raises:
        ValueError: a field is missing, too long, or no value of its kind; the message names it.
    """
    text = {name.decode(errors="replace"): value for name, value in found.items()}
    values = {}
    for field in fields(ScoreRecord):
        if field.name not in text and field.name in LATER:
            continue
        if field.name not in text:
            raise ValueError(f"{field.name} is missing")
        try:
            values[field.name] = READERS[field.type](text[field.name].decode())
        except ValueError as error:
            raise ValueError(f"{field.name}: {error}") from error
    made = ScoreRecord(**values)
    _check(made)
    return made


def _check(made: ScoreRecord) -> None:
    if not 0 <= made.probability <= 1:
        raise ValueError(f"probability is {made.probability}")
    for name, value in asdict(made).items():
        most = LONGEST.get(name, LONGEST_ID)
        if isinstance(value, str) and len(value) > most:
            raise ValueError(f"{name} has {len(value)} characters, more than {most}")


def _told(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number")
    return number


def _truth(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError(f"{text[:20]!r} is neither 0 nor 1")
    return text == "1"


def _whole(text: str) -> int:
    number = int(text)
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"{text[:40]} has no room in 64 bits")
    return number


LONGEST = dict.fromkeys(("transaction", "degraded", "line"), LONGEST_TEXT) | {"request": LONGEST_REQUEST}
LATER = {"line"}  # servers of an earlier release do not tell it
READERS: dict[Any, Callable[[str], Any]] = {str: str, float: _finite, int: _whole, bool: _truth}
