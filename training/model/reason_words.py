"""Reason codes in words: what one feature of the head says about one transaction. Pure; equal texts are one reason."""

import math
import re
from collections.abc import Callable, Iterable, Mapping

AGES = {"h": "hour", "d": "day"}
LONGEST = 120  # characters of a reason: an entity, a category or a flag may have any name


def reasons(contributions: Mapping[str, float], values: Mapping[str, float], most: int = 3) -> list[tuple[str, float]]:
    """The `most` strongest reasons for fraud, strongest first: (words, sum of their contributions in log-odds).

    `contributions` are Shapley values by feature, `values` the features' own values. Features with the same words
    (hour_sin and hour_cos) are one reason; what speaks against fraud is left out.
    """
    summed: dict[str, float] = {}
    for name, worth in contributions.items():
        text = words(name, values.get(name, math.nan))
        summed[text] = summed.get(text, 0.0) + worth
    ranked = sorted(((text, worth) for text, worth in summed.items() if worth > 0), key=lambda pair: -pair[1])
    return ranked[:most]


def words(name: str, value: float) -> str:
    """What the feature `name` says where its value is `value`, as a short phrase."""
    for pattern, say in _PHRASES:
        if found := pattern.fullmatch(name):
            return say(value, *(_plain(part) for part in found.groups()))[:LONGEST]
    return _plain(name)[:LONGEST]


def _plain(text: str | None) -> str:
    return (text or "").replace("_", " ")


def _count(value: float) -> str:
    return f"{value:,.0f}" if math.isfinite(value) else "an unknown number of"


def _several(value: float, noun: str) -> str:
    return f"{_count(value)} {noun}{'' if round(value) == 1 else 's'}" if math.isfinite(value) else f"the {noun}s"


def _within(span: str) -> str:
    unit = AGES.get(span[-1], span[-1])
    return f"{span[:-1]} {unit}{'' if span[:-1] == '1' else 's'}"


def _ago(value: float) -> str:
    """Seconds of log(1 + s) in words; a negative value is a history that does not reach so far."""
    seconds = math.expm1(min(value, 30.0)) if math.isfinite(value) else math.nan
    if not seconds >= 0:
        return ""
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            return _several(seconds / size, unit)
    return _several(seconds, "second")


def _gap(value: float, side: str, rank: str) -> str:
    ago, which = _ago(value), "last payment" if rank == "1" else f"last payment but {int(rank) - 1}"
    return f"{ago} since this {side}'s {which}" if ago else f"fewer than {rank} earlier payments of this {side}"


def _pair_gap(value: float, side: str) -> str:
    ago = _ago(value)
    return f"these two met {ago} ago" if ago else "these two have not met before"


def _direction(value: float, high: str, low: str) -> str:
    return high if value > 0 else low


def _presence(value: float, name: str) -> str:
    return f"{name}" if value > 0 else f"not {name}"


_Say = Callable[..., str]
_TABLE: Iterable[tuple[str, _Say]] = (
    (r"amount_log", lambda v: f"an amount of {math.expm1(min(abs(v), 30.0)) * (1 if v >= 0 else -1):,.2f}"),
    (r"refund", lambda v: _presence(v, "a refund")),
    (r"hour_(?:sin|cos)", lambda v: "the time of day"),
    (r"graph_score", lambda v: "what the graph knows of the payments around it"),
    (r"log_(.+)_volume_(\d+[hd])", lambda v, side, span: (
        f"{_several(math.expm1(min(v, 30.0)), 'payment')} of this {side} within {_within(span)}")),
    (r"(.+)_count_(\d+[hd])", lambda v, side, span: f"{_several(v, 'payment')} of this {side} within {_within(span)}"),
    (r"(.+)_pair_gap", _pair_gap),
    (r"(.+)_gap_(\d+)", _gap),
    (r"(.+)_amount_(?:above|score)", lambda v, side: (
        f"the amount is {_direction(v, 'above', 'not above')} what is usual for this {side}")),
    (r"(.+)_amount_mean_(\d+[hd])", lambda v, side, span: f"the mean amount of this {side} over {_within(span)}"),
    (r"(.+)_amount_spread", lambda v, side: f"how much the amounts of this {side} vary"),
    (r"(.+)_amount_recent", lambda v, side: f"the latest amounts of this {side}"),
    (r"(.+)_online_(?:share|recent)", lambda v, side: f"how much of this {side} is online"),
    (r"(.+)_category_share", lambda v, side: (
        f"{'a usual' if v >= 0.25 else 'an unusual'} kind of shop for this {side}")),
    (r"(.+)_pair_count", lambda v, side: f"{_several(v, 'earlier payment')} between these two"),
    (r"(.+)_seen", lambda v, side: f"{_several(v, 'earlier payment')} of this {side} in view"),
    (r"(.+)_frauds_in_history", lambda v, side: f"{_several(v, 'reported fraud')} among its last payments ({side})"),
    (r"(.+)_log_matured_(\d+d)", lambda v, side, span: f"how many payments of this {side} are judged ({span})"),
    (r"(.+)_frauds_(\d+d)", lambda v, side, span: (
        f"{_several(v, 'reported fraud')} of this {side} in {_within(span)}")),
    (r"(.+)_fraud_rate_(\d+d)", lambda v, side, span: (
        f"{v:.1%} of this {side}'s judged payments were fraud ({span})")),
    (r"(.+)_share", lambda v, what: f"how common this {what} is"),
    (r"(.+)_risk", lambda v, what: f"how much fraud this {what} has seen"),
    (r"(.+)_code", lambda v, what: f"which {what} it is"),
    (r"no_(.+)", lambda v, what: f"no {what} is given" if v > 0 else f"a {what} is given"),
)  # fmt: skip
_PHRASES = tuple((re.compile(pattern), say) for pattern, say in _TABLE)
