"""The gate: may this candidate be released? One pure function of the evaluation and the policy.

The controller, the end-to-end pipeline and the evaluate stage (for its report page) call it. It fails closed: a
missing, malformed or unscored value fails a check with a reason.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from statemachine.contracts.errors import Malformed
from statemachine.contracts.figures import mapping, number
from statemachine.contracts.tables import read_table

FORMAT = 1


@dataclass(frozen=True)
class GatePolicy:
    """What a candidate must hold; AUC is ROC AUC at natural prevalence, margins are in points of the same metric.

    `margin`: the one-sided 95 % lower bound of (candidate − champion) may lie this much below zero; `anchor_margin` is
    the same against the fixed anchor version, so that quality cannot fall a little with every run.
    `margin_average_precision` is off when None: with few frauds average precision swings too much to gate on. A slice
    counts from `min_slice_frauds` on; `slice_floors` replaces `min_slice_auc_roc` by name. `max_drift` is the PSI of
    any feature that is not in `drift_exempt`. `uncompared` are versions that cannot be scored any more, and that a
    person lets a candidate replace without the comparison.
    """

    min_auc_roc: float = 0.90
    min_average_precision: float = 0.0
    min_frauds: int = 10
    margin: float = 0.005
    margin_average_precision: float | None = None
    anchor_margin: float = 0.02
    max_drift: float = 0.5
    drift_exempt: tuple[str, ...] = ()
    uncompared: tuple[str, ...] = ()
    min_slice_frauds: int = 30
    min_slice_auc_roc: float = 0.60
    slice_floors: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> "GatePolicy":
        """The policy of one `[models.<name>.gate]` table.

        Raises:
            Misconfigured: a key is unknown or a value is of the wrong type; the message names it.
        """
        return read_table(cls, table, "gate")


@dataclass(frozen=True)
class GateCheck:
    """One comparison: `value` against `limit` (None if there is no value), and a sentence about it."""

    name: str
    value: float | None
    limit: float | None
    passed: bool
    note: str = ""


@dataclass(frozen=True)
class Verdict:
    """The gate's answer: `reason` names every check that failed, or says that all held."""

    passed: bool
    checks: tuple[GateCheck, ...]
    reason: str


def gate(
    evaluation: Mapping[str, Any], policy: GatePolicy, *, champion: str | None = None, anchor: str | None = None
) -> Verdict:
    """Judges `details.evaluation` of the evaluate stage (see docs/contracts.md).

    `champion` and `anchor` are the versions that the caller knows it holds: an evaluation that was not made against
    them does not pass. The first model ever has neither, and still has the floors.
    """
    try:
        checks = tuple(_checks(evaluation, policy, champion, anchor))
    except Malformed as error:
        checks = (GateCheck("evaluation", None, None, False, f"malformed: {error}"),)
    failed = [check for check in checks if not check.passed]
    reason = "; ".join(f"{check.name}: {check.note}" for check in failed) or f"all {len(checks)} checks held"
    return Verdict(not failed, checks, reason)


def _checks(
    evaluation: Mapping[str, Any], policy: GatePolicy, champion: str | None, anchor: str | None
) -> Iterator[GateCheck]:
    if not isinstance(evaluation, Mapping):
        raise Malformed(f"it is a {type(evaluation).__name__}, not an object")
    if evaluation.get("format") != FORMAT:
        raise Malformed(f"format is {evaluation.get('format')!r}, readable is {FORMAT}")
    metrics = mapping(evaluation, "metrics")
    yield _at_least("frauds", number(evaluation, "frauds"), policy.min_frauds)
    yield _at_least("auc_roc", _unit(metrics, "auc_roc"), policy.min_auc_roc)
    yield _at_least("average_precision", _unit(metrics, "average_precision"), policy.min_average_precision)
    margins = (policy.margin, policy.margin_average_precision)
    yield from _against("champion", evaluation, margins, champion, policy.uncompared)
    yield from _against("anchor", evaluation, (policy.anchor_margin, None), anchor, policy.uncompared)
    yield from _drift(mapping(evaluation, "drift"), policy)
    yield from _slices(evaluation, policy)


def _against(
    role: str,
    evaluation: Mapping[str, Any],
    margins: tuple[float, float | None],
    expected: str | None,
    uncompared: tuple[str, ...],
) -> Iterator[GateCheck]:
    if role not in evaluation:
        raise Malformed(f"{role} is missing; null says that there is none")
    other = evaluation[role]
    if other is None:
        note = f"{expected} was expected, but the evaluation knows none" if expected else "there is none"
        yield GateCheck(role, None, None, expected is None, note)
        return
    if not isinstance(other, Mapping):
        raise Malformed(f"{role} is a {type(other).__name__}, not an object")
    version = other.get("version")
    if expected is not None and version != expected:
        yield GateCheck(role, None, None, False, f"{expected} was expected, but {version} was compared")
        return
    if "error" in other:
        allowed = version in uncompared
        how = "so gate.uncompared says" if allowed else "gate.uncompared can name it, to release without comparison"
        yield GateCheck(role, None, None, allowed, f"{version} could not be scored: {other['error']}; {how}")
        return
    margin, margin_ap = margins
    difference = mapping(other, "difference")
    yield _not_worse(f"{role}.auc_roc", difference, "auc_roc", margin, version)
    if margin_ap is not None:
        yield _not_worse(f"{role}.average_precision", difference, "average_precision", margin_ap, version)


def _not_worse(name: str, difference: Mapping[str, Any], metric: str, margin: float, version: object) -> GateCheck:
    low = number(mapping(difference, metric), "low")
    passed = low >= -margin
    sign = "is not" if passed else "is"
    return GateCheck(
        name, low, -margin, passed, f"lower bound {low:+.4f} against {version} {sign} below {-margin:+.4f}"
    )


def _drift(drift: Mapping[str, Any], policy: GatePolicy) -> Iterator[GateCheck]:
    """One check for the worst feature: a row per feature would hide the other checks."""
    measured = {name: number(drift, name) for name in drift if name not in policy.drift_exempt}
    if not measured:
        yield GateCheck("drift", None, policy.max_drift, True, "nothing to compare with")
        return
    ranked = sorted(measured, key=lambda name: (-measured[name], name))
    beyond = [f"{name} {measured[name]:.3f}" for name in ranked if measured[name] > policy.max_drift]
    note = f"PSI above {policy.max_drift}: {', '.join(beyond)}" if beyond else f"{ranked[0]} moved most"
    yield GateCheck("drift", measured[ranked[0]], policy.max_drift, not beyond, note)


def _slices(evaluation: Mapping[str, Any], policy: GatePolicy) -> Iterator[GateCheck]:
    slices = evaluation.get("slices")
    if not isinstance(slices, list) or not all(isinstance(piece, Mapping) for piece in slices):
        raise Malformed("slices is not a list of objects")
    by_name = {str(piece.get("name")): piece for piece in slices}
    for name in sorted(set(policy.slice_floors) - set(by_name)):
        yield GateCheck(f"slice {name}", None, policy.slice_floors[name], False, "has a floor, but was not evaluated")
    for name, piece in by_name.items():
        if number(piece, "frauds") >= max(policy.min_slice_frauds, 1):
            yield _slice(name, piece, policy.slice_floors.get(name, policy.min_slice_auc_roc))


def _slice(name: str, piece: Mapping[str, Any], floor: float) -> GateCheck:
    if piece.get("auc_roc") is None and number(piece, "rows") == number(piece, "frauds"):
        return GateCheck(f"slice {name}", None, floor, True, "has frauds only, so nothing to rank")
    return _at_least(f"slice {name}", _unit(piece, "auc_roc"), floor)


def _at_least(name: str, value: float, limit: float) -> GateCheck:
    passed = value >= limit
    return GateCheck(name, value, limit, passed, f"{value:.6g} is {'not ' if passed else ''}below {limit:.6g}")


def _unit(record: Mapping[str, Any], name: str) -> float:
    value = number(record, name)
    if not 0 <= value <= 1:
        raise Malformed(f"{name} is {value!r}, not between 0 and 1")
    return value
