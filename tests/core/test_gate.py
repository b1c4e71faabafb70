"""The gate is closed unless every metric is present and holds."""

from typing import Any

import pytest

from statemachine.contracts.errors import Misconfigured
from statemachine.contracts.gate import GatePolicy, gate

POLICY = GatePolicy()


def evaluation(**changes: Any) -> dict[str, Any]:
    """A good first model's evaluation, with `changes`."""
    return {
        "format": 1,
        "rows": 40_000,
        "frauds": 50,
        "threshold": 0.5,
        "metrics": {"auc_roc": 0.97, "average_precision": 0.6},
        "intervals": {},
        "champion": None,
        "anchor": None,
        "drift": {"amount": 0.02},
        "slices": [{"name": "channel=online", "rows": 4000, "frauds": 40, "auc_roc": 0.95, "average_precision": 0.5}],
        "baselines": {},
    } | changes


def rival(low: float, version: str = "fraud-1-aaaaaaaa", ap_low: float = 0.0) -> dict[str, Any]:
    difference = {"auc_roc": {"mean": 0.0, "low": low, "high": 0.01}, "average_precision": {"low": ap_low}}
    return {"version": version, "metrics": {"auc_roc": 0.97}, "difference": difference}


def failed(verdict: Any) -> list[str]:
    return [check.name for check in verdict.checks if not check.passed]


def test_a_good_first_model_passes() -> None:
    """With no champion and no anchor, the floors alone decide."""
    verdict = gate(evaluation(), POLICY)
    assert verdict.passed
    assert verdict.reason == "all 7 checks held"


@pytest.mark.parametrize(
    ("changes", "policy", "check"),
    [
        ({"metrics": {"auc_roc": 0.8999, "average_precision": 0.6}}, POLICY, "auc_roc"),
        (
            {"metrics": {"auc_roc": 0.97, "average_precision": 0.1}},
            GatePolicy(min_average_precision=0.2),
            "average_precision",
        ),
        ({"frauds": 9}, POLICY, "frauds"),
        ({"champion": rival(-0.0051)}, POLICY, "champion.auc_roc"),
        (
            {"champion": rival(0.0, ap_low=-0.2)},
            GatePolicy(margin_average_precision=0.1),
            "champion.average_precision",
        ),
        ({"champion": {"version": "v", "error": "weights are missing"}}, POLICY, "champion"),
        ({"anchor": rival(-0.0201)}, POLICY, "anchor.auc_roc"),
        ({"anchor": {"version": "v", "error": "gone"}}, POLICY, "anchor"),
        ({"drift": {"amount": 0.51, "mcc": 0.1}}, POLICY, "drift"),
        ({"slices": [{"name": "s", "rows": 900, "frauds": 30, "auc_roc": 0.59}]}, POLICY, "slice s"),
        (
            {"slices": [{"name": "s", "rows": 900, "frauds": 30, "auc_roc": 0.89}]},
            GatePolicy(slice_floors={"s": 0.9}),
            "slice s",
        ),
        ({}, GatePolicy(slice_floors={"typo": 0.9}), "slice typo"),
    ],
)
def test_each_check_alone_closes_the_gate(changes: dict[str, Any], policy: GatePolicy, check: str) -> None:
    """One failed check is enough, and the reason names it."""
    verdict = gate(evaluation(**changes), policy)
    assert not verdict.passed
    assert failed(verdict) == [check]
    assert verdict.reason.startswith(f"{check}: ")


@pytest.mark.parametrize(
    ("changes", "policy"),
    [
        ({"metrics": {"auc_roc": 0.90, "average_precision": 0.0}}, POLICY),
        ({"frauds": 10}, POLICY),
        ({"champion": rival(-0.005)}, POLICY),
        ({"champion": rival(0.0, ap_low=-0.9)}, POLICY),
        ({"anchor": rival(-0.02)}, POLICY),
        ({"drift": {"amount": 0.5}}, POLICY),
        ({"drift": {}}, POLICY),
        ({"drift": {"year": 9.0, "amount": 0.1}}, GatePolicy(drift_exempt=("year",))),
        ({"slices": [{"name": "s", "rows": 900, "frauds": 29, "auc_roc": 0.1}]}, POLICY),
        ({"slices": [{"name": "s", "rows": 0, "frauds": 0, "auc_roc": None}]}, POLICY),
        ({"slices": [{"name": "s", "rows": 40, "frauds": 40, "auc_roc": None}]}, POLICY),
    ],
)
def test_on_the_limit_is_within_it(changes: dict[str, Any], policy: GatePolicy) -> None:
    """Limits are inclusive; small slices, exempt features and absent rivals do not count."""
    verdict = gate(evaluation(**changes), policy)
    assert verdict.passed, verdict.reason


@pytest.mark.parametrize(
    "broken",
    [
        {},
        [],
        None,
        evaluation(format=2),
        evaluation(metrics=None),
        evaluation(metrics={"average_precision": 0.5}),
        evaluation(metrics={"auc_roc": float("nan"), "average_precision": 0.5}),
        evaluation(metrics={"auc_roc": "0.97", "average_precision": 0.5}),
        evaluation(metrics={"auc_roc": True, "average_precision": 0.5}),
        evaluation(metrics={"auc_roc": 97.0, "average_precision": 0.5}),
        evaluation(frauds=None),
        evaluation(champion="fraud-1"),
        evaluation(champion={"version": "v"}),
        evaluation(champion={"version": "v", "difference": {"auc_roc": {}}}),
        evaluation(drift=[]),
        evaluation(drift={"amount": None}),
        evaluation(slices={}),
        evaluation(slices=["s"]),
        evaluation(slices=[{"name": "s", "rows": 900, "frauds": 30, "auc_roc": None}]),
        {key: value for key, value in evaluation().items() if key != "champion"},
        {key: value for key, value in evaluation().items() if key != "anchor"},
    ],
)
def test_a_malformed_evaluation_closes_the_gate(broken: Any) -> None:
    """What cannot be read is a no with a reason, never an exception and never a yes."""
    verdict = gate(broken, POLICY)
    assert not verdict.passed
    assert "malformed" in verdict.reason


@pytest.mark.parametrize("observed", [None, rival(0.0, "fraud-0-bbbbbbbb")])
def test_the_rival_must_be_the_one_the_caller_holds(observed: dict[str, Any] | None) -> None:
    """An evaluation made against no champion, or against an older one, does not pass."""
    verdict = gate(evaluation(champion=observed), POLICY, champion="fraud-1-aaaaaaaa")
    assert failed(verdict) == ["champion"]
    assert "fraud-1-aaaaaaaa was expected" in verdict.reason
    assert gate(evaluation(champion=rival(0.0)), POLICY, champion="fraud-1-aaaaaaaa").passed
    assert failed(gate(evaluation(anchor=observed), POLICY, anchor="fraud-1-aaaaaaaa")) == ["anchor"]


def test_a_champion_that_cannot_be_scored_is_let_go_by_its_name_only() -> None:
    """The check passes and says so; another version, and one that was compared and is better, still close the gate."""
    lost = {"champion": {"version": "v", "error": "another definition"}}
    verdict = gate(evaluation(**lost), GatePolicy(uncompared=("v",)), champion="v")
    check = next(check for check in verdict.checks if check.name == "champion")
    assert verdict.passed
    assert check.note == "v could not be scored: another definition; so gate.uncompared says"
    assert failed(gate(evaluation(**lost), GatePolicy(uncompared=("w",)))) == ["champion"]
    better = gate(evaluation(champion=rival(-0.5, "v")), GatePolicy(uncompared=("v",)))
    assert failed(better) == ["champion.auc_roc"]


def test_every_setting_of_the_policy_changes_some_verdict() -> None:
    """No field is there for show: the cases above turn each one."""
    turned: dict[str, tuple[Any, dict[str, Any]]] = {
        "min_auc_roc": (0.98, {}),
        "min_average_precision": (0.7, {}),
        "min_frauds": (51, {}),
        "margin": (0.0, {"champion": rival(-0.001)}),
        "margin_average_precision": (0.0, {"champion": rival(0.0, ap_low=-0.1)}),
        "anchor_margin": (0.0, {"anchor": rival(-0.001)}),
        "max_drift": (0.01, {}),
        "drift_exempt": (("amount",), {"drift": {"amount": 9.0}}),
        "uncompared": (("v",), {"champion": {"version": "v", "error": "another definition"}}),
        "min_slice_frauds": (41, {"slices": [{"name": "s", "rows": 90, "frauds": 40, "auc_roc": 0.1}]}),
        "min_slice_auc_roc": (0.96, {}),
        "slice_floors": ({"channel=online": 0.96}, {}),
    }
    assert set(turned) == set(GatePolicy.__dataclass_fields__)
    for name, (value, changes) in turned.items():
        table = {name: list(value) if isinstance(value, tuple) else value}
        changed = gate(evaluation(**changes), GatePolicy.from_dict(table))
        assert changed.passed != gate(evaluation(**changes), POLICY).passed, name


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"min_auc": 0.9}, "unknown min_auc"),
        ({"min_auc_roc": "high"}, "min_auc_roc"),
        ({"margin": float("nan")}, "margin"),
        ({"max_drift": True}, "max_drift"),
        ({"drift_exempt": "year"}, "drift_exempt"),
        ({"slice_floors": 0.9}, "slice_floors"),
        ({"slice_floors": {"s": None}}, "slice_floors.s"),
    ],
)
def test_a_wrong_setting_is_named(table: dict[str, Any], message: str) -> None:
    """A typo in fraudloop.toml must not silently leave a limit at its default."""
    with pytest.raises(Misconfigured, match=message):
        GatePolicy.from_dict(table)


@pytest.mark.parametrize(
    "number", [10**400, -(10**400), 1e300, float("inf"), float("nan")], ids=["huge", "low", "1e300", "inf", "nan"]
)
def test_a_number_beyond_numbers_is_malformed(number: float) -> None:
    """JSON has integers of any length; one of 400 digits is no float, and printing it raised in each pass."""
    verdict = gate(evaluation(metrics={"auc_roc": number, "average_precision": 0.6}), POLICY)
    assert failed(verdict) == ["evaluation"]
    assert not gate(evaluation(frauds=number), POLICY).passed
