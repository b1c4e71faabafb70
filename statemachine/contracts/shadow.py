"""The shadow's verdict: may this candidate be deployed, after it was tried on the serving image with real requests?

One pure function of the shadow stage's figures and the policy, as the gate is. It fails closed: a missing or malformed
figure is a failed check with a reason.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from statemachine.contracts.errors import Malformed
from statemachine.contracts.figures import count, mapping
from statemachine.contracts.gate import GateCheck
from statemachine.contracts.limits import clipped

FORMAT = 1


class ShadowOutcome(Enum):
    """PASS and FAIL judge the candidate; INSUFFICIENT: too few requests; INVALID: the control did not hold."""

    PASS = "pass"  # noqa: S105 — a verdict
    FAIL = "fail"
    INSUFFICIENT = "insufficient"
    INVALID = "invalid"


@dataclass(frozen=True)
class ShadowPolicy:
    """What is asked of a candidate before it may be deployed: the `[models.<name>.shadow]` table.

    `requests` are replayed at most, of the last `log_days`; below `min_requests` no comparison is judged. The control
    holds if the champion repeats at least `min_reproduced` of its own answers within `tolerance`. `max_error_share` is
    of the requests. The candidate's p99 may be `max_p99_ratio` times the champion's, and is never judged below
    `min_p99_ms`. `max_psi` is of the scores' distribution, off when None: models that are trained apart rank alike and
    still place small scores elsewhere. Alerts may grow or shrink by the factor `max_alert_ratio` once there are
    `min_alerts`. `max_disagreement` is the share of requests that one model alerts on and the other does not.
    """

    enabled: bool = True
    requests: int = 300
    log_days: int = 7
    min_requests: int = 30
    tolerance: float = 1e-4
    min_reproduced: float = 0.99
    max_error_share: float = 0.0
    max_p99_ratio: float = 3.0
    min_p99_ms: float = 500.0
    max_psi: float | None = None
    max_alert_ratio: float = 5.0
    min_alerts: int = 20
    max_disagreement: float = 0.2
    insufficient_passes: bool = True
    invalid_passes: bool = False


@dataclass(frozen=True)
class ShadowVerdict:
    """The answer: `passed` is what the policy makes of `outcome`; `reason` names what did not hold."""

    outcome: ShadowOutcome
    passed: bool
    checks: tuple[GateCheck, ...]
    reason: str


def shadow_verdict(
    figures: Mapping[str, Any], policy: ShadowPolicy, *, candidate: str = "", champion: str | None = None
) -> ShadowVerdict:
    """Judges `details.shadow` of the shadow stage (see docs/contracts.md).

    `candidate` and `champion` are the versions that the caller knows it holds: figures of others do not pass. "" for
    the champion says that there is none; then there is nothing to compare with, and no control.
    """
    allowed = {
        ShadowOutcome.PASS: True,
        ShadowOutcome.FAIL: False,
        ShadowOutcome.INSUFFICIENT: policy.insufficient_passes,
        ShadowOutcome.INVALID: policy.invalid_passes,
    }
    try:
        outcome, checks = _judged(figures, policy, candidate, champion)
    except Malformed as error:
        outcome, checks = ShadowOutcome.FAIL, (GateCheck("shadow", None, None, False, f"malformed: {error}"),)
    missed = [check for check in checks if not check.passed]
    reason = "; ".join(f"{check.name}: {check.note}" for check in missed) or f"all {len(checks)} checks held"
    return ShadowVerdict(outcome, allowed[outcome], checks, f"shadow {outcome.value}: {reason}")


def _judged(
    figures: Mapping[str, Any], policy: ShadowPolicy, candidate: str, champion: str | None
) -> tuple[ShadowOutcome, tuple[GateCheck, ...]]:
    """Step by step: what does not load is not compared, and nothing is compared without a control that held."""
    checks: tuple[GateCheck, ...] = ()
    for outcome, step in (
        (ShadowOutcome.FAIL, _load(figures, policy, candidate)),
        (ShadowOutcome.INVALID, _control(figures, champion, policy)),
        (ShadowOutcome.INSUFFICIENT, _enough(figures, policy)),
        (ShadowOutcome.FAIL, _beside(figures, policy)),
    ):
        found = tuple(step)
        checks += found
        if not all(check.passed for check in found):
            return outcome, checks
    return ShadowOutcome.PASS, checks


def _load(figures: Mapping[str, Any], policy: ShadowPolicy, expected: str) -> Iterator[GateCheck]:
    if not isinstance(figures, Mapping) or figures.get("format") != FORMAT:
        found = figures.get("format") if isinstance(figures, Mapping) else type(figures).__name__
        raise Malformed(f"format is {clipped(repr(found), 100)}, readable is {FORMAT}")
    candidate = mapping(figures, "candidate")
    version, error = candidate.get("version"), str(candidate.get("error", ""))
    if expected and version != expected:
        error = f"{expected} was expected, but {clipped(str(version), 200)} was tried"
    yield GateCheck("loads", None, None, not error, error or "the server loads it")
    if error:
        return
    asked, failed = count(figures, "requests"), count(candidate, "failed")
    share = failed / asked if asked else 0.0
    first = f": {candidate['reason']}" if failed and candidate.get("reason") else ""
    note = f"{failed:g} of {asked:g} requests failed{first}"
    yield GateCheck("errors", share, policy.max_error_share, share <= policy.max_error_share, clipped(note))


def _control(figures: Mapping[str, Any], expected: str | None, policy: ShadowPolicy) -> Iterator[GateCheck]:
    champion = figures.get("champion")
    if champion is None:
        note = f"{expected} was expected, but no champion was tried" if expected else "there is no champion"
        yield GateCheck("control", None, None, not expected, note)
        return
    if not isinstance(champion, Mapping):
        raise Malformed(f"champion is a {type(champion).__name__}, not an object")
    if expected is not None and champion.get("version") != expected:
        note = f"{expected or 'no champion'} was expected, but {clipped(str(champion.get('version')), 200)} was tried"
        yield GateCheck("control", None, None, False, note)
        return
    if error := str(champion.get("error", "")):
        yield GateCheck("control", None, None, False, f"the champion does not load here: {error}")
        return
    control = mapping(figures, "control")
    compared, reproduced = count(control, "compared"), count(control, "reproduced")
    share = reproduced / compared if compared else 0.0
    held = compared > 0 and policy.min_reproduced <= share <= 1
    note = f"the champion repeats {reproduced:g} of its {compared:g} answers on record"
    note += f", the largest difference is {count(control, 'max_difference'):.2g}"
    yield GateCheck("control", share, policy.min_reproduced, held, note)


def _enough(figures: Mapping[str, Any], policy: ShadowPolicy) -> Iterator[GateCheck]:
    beside = figures.get("champion") is not None
    asked = count(figures, "compared" if beside else "requests")
    note = f"{asked:g} requests were answered by {'both' if beside else 'it'}"
    yield GateCheck("requests", asked, policy.min_requests, asked >= policy.min_requests, note)


def _beside(figures: Mapping[str, Any], policy: ShadowPolicy) -> Iterator[GateCheck]:
    """The candidate beside the champion, on the requests that both answered."""
    candidate, champion = mapping(figures, "candidate"), figures.get("champion")
    p99, other = count(candidate, "p99_ms"), champion
    limit = policy.min_p99_ms
    if isinstance(other, Mapping):
        limit = max(limit, policy.max_p99_ratio * count(other, "p99_ms"))
    yield GateCheck("p99_ms", p99, limit, p99 <= limit, f"{p99:.1f} ms at the 99 % quantile, at most {limit:.1f}")
    if not isinstance(other, Mapping):
        return
    compared = count(figures, "compared")
    if figures.get("psi") is not None and policy.max_psi is not None:
        psi = count(figures, "psi")
        yield GateCheck("psi", psi, policy.max_psi, psi <= policy.max_psi, f"PSI of the scores is {psi:.3f}")
    yield _alerts(count(candidate, "alerts"), count(other, "alerts"), policy)
    share = count(figures, "disagreements") / compared if compared else 0.0
    note = f"{share:.1%} of the requests get another decision"
    yield GateCheck("disagreement", share, policy.max_disagreement, share <= policy.max_disagreement, note)


def _alerts(ours: float, theirs: float, policy: ShadowPolicy) -> GateCheck:
    low, high = sorted((ours, theirs))
    ratio = high / max(low, 1.0)
    held = high < policy.min_alerts or ratio <= policy.max_alert_ratio
    return GateCheck("alerts", ratio, policy.max_alert_ratio, held, f"{ours:g} alerts, the champion has {theirs:g}")
