"""The shadow's verdict: closed unless every figure is there and holds; each outcome is what the policy makes of it."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulation.memory.stages import figures_of
from simulation.memory.strategies import JSON
from statemachine.contracts.errors import Misconfigured
from statemachine.contracts.shadow import ShadowOutcome, ShadowPolicy, ShadowVerdict, shadow_verdict
from statemachine.core.policy import parse

NEW, OLD = "fraud-7-00000007", "fraud-6-00000006"
POLICY = ShadowPolicy()
O = ShadowOutcome  # noqa: E741


def figures(champion: str = OLD, **changes: Any) -> dict[str, Any]:
    """Figures that pass; `candidate_x` and `champion_x` change one of a version's own."""
    made = figures_of(NEW, champion)
    for name, value in changes.items():
        role, _, figure = name.partition("_")
        if figure and role in ("candidate", "champion", "control"):
            made[role] = made[role] | {figure: value}
        else:
            made[name] = value
    return made


def judged(given_figures: Mapping[str, Any], policy: ShadowPolicy = POLICY, champion: str = OLD) -> ShadowVerdict:
    return shadow_verdict(given_figures, policy, candidate=NEW, champion=champion)


def missed(verdict: ShadowVerdict) -> list[str]:
    return [check.name for check in verdict.checks if not check.passed]


def test_a_candidate_that_answers_alike_passes() -> None:
    """Every check is on record with its value and its limit."""
    verdict = judged(figures())
    assert (verdict.outcome, verdict.passed, verdict.reason) == (O.PASS, True, "shadow pass: all 7 checks held")
    names = ["loads", "errors", "control", "requests", "p99_ms", "alerts", "disagreement"]
    assert [check.name for check in verdict.checks] == names


def test_the_first_model_ever_needs_no_control() -> None:
    """There is no champion, and the caller knows it."""
    verdict = judged(figures(champion=""), champion="")
    assert (verdict.outcome, verdict.passed) == (O.PASS, True)
    assert judged(figures(champion="")).outcome is O.INVALID


@pytest.mark.parametrize(
    ("changes", "outcome", "check"),
    [
        ({"candidate_error": "no module named valkey"}, O.FAIL, "loads"),
        ({"candidate_version": OLD}, O.FAIL, "loads"),
        ({"candidate_failed": 1}, O.FAIL, "errors"),
        ({"champion_version": NEW}, O.INVALID, "control"),
        ({"champion_error": "it does not load"}, O.INVALID, "control"),
        ({"control_reproduced": 290}, O.INVALID, "control"),
        ({"control_reproduced": 301}, O.INVALID, "control"),
        ({"control_compared": 0, "control_reproduced": 0}, O.INVALID, "control"),
        ({"compared": 29}, O.INSUFFICIENT, "requests"),
        ({"candidate_p99_ms": 501.0}, O.FAIL, "p99_ms"),
        ({"candidate_alerts": 151}, O.FAIL, "alerts"),
        ({"candidate_alerts": 5}, O.FAIL, "alerts"),
        ({"disagreements": 61}, O.FAIL, "disagreement"),
        ({"format": 2}, O.FAIL, "shadow"),
        ({"candidate": None}, O.FAIL, "shadow"),
        ({"candidate_p99_ms": float("nan")}, O.FAIL, "shadow"),
        ({"candidate_p99_ms": -1.0}, O.FAIL, "shadow"),
        ({"requests": True}, O.FAIL, "shadow"),
        ({"compared": 10**400}, O.FAIL, "shadow"),
    ],
)
def test_what_does_not_hold(changes: Mapping[str, Any], outcome: ShadowOutcome, check: str) -> None:
    """The outcome, and the one check that says why."""
    verdict = judged(figures(**changes))
    assert (verdict.outcome, missed(verdict)) == (outcome, [check])
    assert f"{check}: " in verdict.reason


@pytest.mark.parametrize(
    "changes",
    [
        {"candidate_p99_ms": 500.0},
        {"champion_p99_ms": 400.0, "candidate_p99_ms": 1200.0},
        {"candidate_alerts": 150},
        {"champion_alerts": 0, "candidate_alerts": 19},
        {"disagreements": 60},
        {"control_reproduced": 297},
        {"compared": 30, "disagreements": 0},
        {"psi": 9.0},
        {"psi": None},
    ],
)
def test_what_just_holds(changes: Mapping[str, Any]) -> None:
    """Limits are themselves within the limit; the PSI is shown, and judged only if the policy says so."""
    assert judged(figures(**changes)).outcome is O.PASS


def test_a_limit_of_the_distribution_is_asked_for() -> None:
    """`max_psi` is off by default."""
    assert missed(judged(figures(psi=0.3), ShadowPolicy(max_psi=0.25))) == ["psi"]
    assert judged(figures(psi=0.25), ShadowPolicy(max_psi=0.25)).passed


def test_the_policy_says_which_of_insufficient_and_invalid_may_pass() -> None:
    """By default too few requests pass and a control that does not hold does not."""
    few, wrong = figures(compared=3), figures(control_reproduced=0)
    assert [judged(each).passed for each in (few, wrong)] == [True, False]
    other = ShadowPolicy(insufficient_passes=False, invalid_passes=True)
    assert [judged(each, other).passed for each in (few, wrong)] == [False, True]


def test_without_a_control_nothing_is_compared() -> None:
    """A comparison that means nothing does not condemn the candidate, nor say that it is good."""
    verdict = judged(figures(control_reproduced=0, disagreements=300, candidate_alerts=300))
    assert verdict.outcome is O.INVALID
    assert {check.name for check in verdict.checks} == {"loads", "errors", "control"}


@given(st.dictionaries(st.sampled_from(sorted(figures())), JSON, max_size=4))
@settings(max_examples=200, deadline=None)
def test_no_figures_break_it(changes: dict[str, Any]) -> None:
    """Whatever a stage reports there is a verdict, and it passes only with candidate and control intact."""
    verdict = judged({**figures(), **changes})
    if verdict.outcome is O.PASS:
        assert verdict.passed
        assert not missed(verdict)


def test_the_policy_is_a_table_of_the_registry() -> None:
    """`[models.x.shadow]` and `[models.x.approval]`; a typo or a senseless value is named."""
    table = {"prefix": "data/x/", "shadow": {"requests": 50}, "approval": {"approvers": 2, "separate": True}}
    policy = parse({"models": {"x": table}}, "s3://artifacts")["x"]
    assert (policy.shadow.requests, policy.shadow.enabled, policy.approval.approvers) == (50, True, 2)
    for wrong, named in (
        ({"shadow": {"request": 1}}, "models.x.shadow: unknown request"),
        ({"approval": {"approvers": 0}}, "models.x.approval: approvers is at least 1"),
        ({"approval": {"expiry": 0}}, "expiry is more than 0"),
    ):
        with pytest.raises(Misconfigured, match=named):
            parse({"models": {"x": table | wrong}}, "s3://artifacts")
