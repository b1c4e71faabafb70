"""What the report adds to the metrics: thresholds in money, segments, changes, reasons in words, the recommendation."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from statemachine.contracts.gate import GateCheck, GatePolicy, Verdict, gate
from training import storage
from training.evaluation import changes, drawing, segments, thresholds
from training.evaluation.advice import KEEP, LOOK, RELEASE, advise
from training.evaluation.drawing import Axis, PlotLine
from training.evaluation.evaluate import EvaluateConfig
from training.evaluation.explained import FALSE_ALARM, MISSED, TRUE_ALERT, chosen
from training.evaluation.report_html import ReportPage, page
from training.evaluation.thresholds import Costs
from training.model.reason_words import reasons, words
from training.outcome import Permanent

DAY = 86_400


def rows(count: int = 4000, days: int = 20, frauds: int = 80) -> tuple[Any, ...]:
    """Labels, scores, times and amounts of a small world in which a high score means fraud."""
    rng = np.random.default_rng(7)
    labels = np.zeros(count, dtype=np.int8)
    labels[rng.choice(count, frauds, replace=False)] = 1
    scores = np.clip(rng.beta(1, 12, count) + 0.35 * labels * rng.random(count), 1e-6, 1).astype(np.float32)
    times = np.sort(rng.integers(0, days, count)) * DAY
    return labels, scores, times, rng.gamma(2, 60, count)


def test_a_threshold_row_is_what_counting_says() -> None:
    """Each row, counted anew from the rows themselves: alerts, precision, recall and money a day."""
    labels, scores, times, amounts = rows()
    found = thresholds.choices(labels, scores, times, amounts, 0.3, Costs(5.0, 0.8, 10))
    assert len(found["rows"]) == thresholds.ROWS
    assert found["days"] == 20
    for row in [*found["rows"], *found["curve"]]:
        alarm = scores >= np.float32(row["threshold"])
        caught = alarm & (labels == 1)
        assert row["alerts_a_day"] == pytest.approx(alarm.sum() / 20, rel=1e-5)
        assert row["precision"] == pytest.approx(caught.sum() / alarm.sum(), rel=1e-5)
        assert row["recall"] == pytest.approx(caught.sum() / 80, rel=1e-5)
        assert row["saved_a_day"] == pytest.approx(0.8 * amounts[caught].sum() / 20, rel=1e-5, abs=1e-9)
        net = 0.8 * amounts[caught].sum() - 5 * alarm.sum()
        assert row["net_a_day"] == pytest.approx(net / 20, rel=1e-4, abs=1e-3)
        assert row["lost_a_day"] + row["saved_a_day"] == pytest.approx(found["fraud_amount_a_day"], rel=1e-4)


def test_the_rules_are_marked_where_they_hold() -> None:
    """In use: the last score at or above it; the budget: no step within it has more; most money: none has more."""
    labels, scores, times, amounts = rows()
    found = thresholds.choices(labels, scores, times, amounts, 0.3, Costs(5.0, 0.8, 10))
    marked = {rule: row for row in found["rows"] for rule in row["rule"].split(", ") if rule}
    assert set(marked) == {thresholds.IN_USE, thresholds.BUDGET, thresholds.COST}
    assert marked[thresholds.IN_USE]["threshold"] == pytest.approx(float(scores[scores >= 0.3].min()), rel=1e-5)
    assert marked[thresholds.BUDGET]["alerts_a_day"] == 10
    everything = [row["net_a_day"] for row in [*found["rows"], *found["curve"]]]
    assert marked[thresholds.COST]["net_a_day"] == max(everything)


def test_thresholds_of_equal_scores_are_one_choice() -> None:
    """A model that knows nothing gives one row, not ten that cannot be told apart."""
    labels, scores, times, amounts = rows()
    found = thresholds.choices(labels, np.full_like(scores, 0.5), times, amounts, 0.5, Costs(5.0, 0.8, 10))
    assert [row["alerts_a_day"] for row in found["rows"]] == [200]


def test_a_segment_is_paired_with_its_rivals() -> None:
    """Against itself the difference is 0 exactly; against noise all of it lies above; few frauds are left out."""
    labels, scores, _, _ = rows()
    noise = np.random.default_rng(1).random(len(labels)).astype(np.float32)
    few = np.zeros(len(labels), dtype=bool)
    few[np.flatnonzero(labels == 1)[:3]] = True
    masks = [("all", np.ones(len(labels), dtype=bool)), ("few", few)]
    (one,) = segments.beside(masks, labels, scores, {"itself": scores, "noise": noise}, seed=1)
    assert (one["name"], one["rows"], one["frauds"]) == ("all", 4000, 80)
    assert one["rivals"]["itself"]["difference"]["average_precision"] == {"mean": 0, "low": 0, "high": 0}
    assert one["rivals"]["noise"]["difference"]["average_precision"]["low"] > 0


def test_the_explained_are_true_alerts_false_alarms_and_missed_frauds() -> None:
    """Four, three and three; alerts by their score, missed frauds by what they cost."""
    labels, scores, _, amounts = rows()
    picked = chosen(labels, scores, amounts, 0.3)
    kinds = [kind for kind, _ in picked]
    assert kinds == [TRUE_ALERT] * 4 + [FALSE_ALARM] * 3 + [MISSED] * 3
    assert all((labels[place] == 1) == (kind != FALSE_ALARM) for kind, place in picked)
    assert all((scores[place] >= np.float32(0.3)) == (kind != MISSED) for kind, place in picked)
    missed = [amounts[place] for kind, place in picked if kind == MISSED]
    assert missed[0] == amounts[(labels == 1) & (scores < np.float32(0.3))].max()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("card_count_1h", 6, "6 payments of this card within 1 hour"),
        ("merchant_count_3d", 1, "1 payment of this merchant within 3 days"),
        ("log_card_volume_7d", np.log1p(12), "12 payments of this card within 7 days"),
        ("card_gap_1", np.log1p(7200), "2 hours since this card's last payment"),
        ("card_gap_4", -1, "fewer than 4 earlier payments of this card"),
        ("merchant_fraud_rate_30d", 0.125, "12.5% of this merchant's judged payments were fraud (30d)"),
        ("amount_log", np.log1p(99), "an amount of 99.00"),
        ("no_zip", 1, "no zip is given"),
        ("card_pair_gap", -1, "these two have not met before"),
        ("error_bad_cvv", 1, "error bad cvv"),
        ("card_count_1h", float("nan"), "the payments of this card within 1 hour"),
    ],
)
def test_a_reason_is_said_in_words(name: str, value: float, said: str) -> None:
    """With the feature's own value; an unknown feature keeps its name."""
    assert words(name, value) == said


def test_reasons_are_the_strongest_for_fraud() -> None:
    """Features of one phrase count together, and what speaks against fraud is none."""
    worth = {"hour_sin": 0.4, "hour_cos": 0.5, "amount_log": 0.6, "refund": -2.0, "card_seen": 0.1, "graph_score": 0.2}
    found = reasons(worth, dict.fromkeys(worth, 0.0))
    assert [text for text, _ in found][:2] == ["the time of day", "an amount of 0.00"]
    assert len(found) == 3
    assert found[0][1] == pytest.approx(0.9)


def test_every_feature_has_words() -> None:
    """None of them raises for any value, a history that is not there included."""
    from training.data.presets import preset
    from training.model import features
    from training.model.config import GROUPS

    for name in features.names(preset().row, GROUPS):
        for value in (-1.0, 0.0, 0.5, 1e9, float("nan"), float("inf"), float("-inf")):
            assert 0 < len(words(name, value)) <= 120


def test_changes_are_found_in_the_champions_own_record(tmp_path: Path) -> None:
    """What differs, by kind; a former version says that it has none; no champion gives no changes."""
    now = {"data": {"rows": 10, "last": 5}, "settings": {"seed": 1}, "code": {"image": "b"}}
    champion = tmp_path / "fraud-1-aaaaaaaa"
    assert changes.since(None, now) is None
    storage.write_json(str(champion / "evaluation.json"), {"identity": now | {"data": {"rows": 8, "last": 5}}})
    assert changes.since(str(champion), now) == {"data": {"rows": [8, 10]}, "settings": {}, "code": {}}
    storage.write_json(str(champion / "evaluation.json"), {"format": 1})
    assert "no record" in (changes.since(str(champion), now) or {})["unknown"]
    (champion / "evaluation.json").write_text("[")
    assert "cannot be read" in (changes.since(str(champion), now) or {})["unknown"]


def evaluation(**more: Any) -> dict[str, Any]:
    """An evaluation as a former release left it, unless `more` adds to it."""
    figures = {"auc_roc": 0.97, "average_precision": 0.5, "precision": 0.7, "recall": 0.5}
    return {
        "format": 1, "rows": 4000, "frauds": 80, "threshold": 0.3, "metrics": figures,
        "intervals": {"auc_roc": [0.96, 0.98], "average_precision": [0.45, 0.55]},
        "champion": None, "anchor": None, "drift": {}, "baselines": {},
        "slices": [{"name": "channel=chip", "rows": 4000, "frauds": 80, "auc_roc": 0.97, "average_precision": 0.5}],
        "reliability": [{"predicted": 0.1, "observed": 0.11, "rows": 40}],
    } | more  # fmt: skip


def champion(low: float, mean: float, high: float) -> dict[str, Any]:
    """A champion that the candidate differs from by so much."""
    gained = {"low": low, "mean": mean, "high": high}
    return {
        "version": "fraud-0-aaaaaaaa",
        "metrics": {"auc_roc": 0.96, "average_precision": 0.4},
        "difference": {"auc_roc": {"low": 0.0, "mean": 0.0, "high": 0.0}, "average_precision": gained},
    }


@pytest.mark.parametrize(
    ("given", "action"),
    [
        ({}, RELEASE),
        ({"champion": champion(0.01, 0.02, 0.03)}, RELEASE),
        ({"champion": champion(-0.01, 0.0, 0.01)}, RELEASE),
        ({"champion": champion(-0.03, -0.02, -0.01)}, LOOK),
        ({"champion": {"version": "x", "error": "torn"}}, KEEP),
    ],
)
def test_the_recommendation_follows_the_figures(given: dict[str, Any], action: str) -> None:
    """A failed gate is a no; a certain loss against the champion asks for a closer look."""
    measured = evaluation(**given)
    verdict = gate(measured, GatePolicy())
    assert advise(measured, verdict.passed, {c.name: c.note for c in verdict.checks if not c.passed}).action == action


def test_a_segment_that_lost_asks_for_a_closer_look() -> None:
    """The mean may have gained."""
    worse = {"name": "state=CA", "rows": 500, "frauds": 30, "rivals": {"champion": champion(-0.2, -0.1, -0.05)}}
    found = advise(evaluation(champion=champion(0.01, 0.02, 0.03), segments=[worse]), True, {})
    assert found.action == LOOK
    assert any("state=CA" in text for kind, text in found.reasons if kind == "against")


@pytest.mark.parametrize(("verdict", "kind"), [("adds", "for"), ("not shown", "note")])
def test_what_the_graph_adds_is_said(verdict: str, kind: str) -> None:
    """With its interval; where it is not shown, what follows from that."""
    adds = {"rival": "xgboost_velocity_risk", "mean": 0.01, "low": 0.0, "high": 0.02, "verdict": verdict,
            "recommendation": None if verdict == "adds" else "serve without it"}  # fmt: skip
    found = advise(evaluation(graph_adds=adds, warnings=["labels are late"]), True, {})
    (said,) = [(one, text) for one, text in found.reasons if "graph network" in text]
    assert said[0] == kind
    assert ("serve without it" in said[1]) == (verdict != "adds")
    assert ("note", "labels are late") in found.reasons


def drawn(measured: dict[str, Any], verdict: Verdict | None = None) -> str:
    """The page about it."""
    labels, scores, _, _ = rows()
    found = verdict or gate(measured, GatePolicy())
    return page(ReportPage("fraud-1", measured, found, labels, {"candidate": scores}, {"amount_log": 2.0}, {"seed": 1}))


def test_an_evaluation_of_a_former_release_is_still_a_page() -> None:
    """What it lacks is left out, or said to be lacking."""
    html = drawn(evaluation(champion=champion(0.01, 0.02, 0.03)))
    assert "This evaluation has no record of it" in html
    assert "The threshold is a choice" not in html


def test_what_was_learned_of_labels_is_on_the_page() -> None:
    """Corrections, reports, their delay, and a warning if it is long; nothing where there is nothing of it."""
    labels = {"reported": 1200, "waiting": 3, "labels_corrected": 197, "delay_median_days": 4.0, "delay_p90_days": 9.5}
    html = " ".join(drawn(evaluation(labels=labels, warnings=["label_delay_days is 30 <b>"])).split())
    assert "197 corrected, 1,200 transactions reported, 3 reports wait for theirs" in html
    assert "reported within 4 days, nine of ten within 9.5" in html
    assert "label_delay_days is 30 &lt;b&gt;." in html
    assert "Labels:" not in drawn(evaluation(labels={}))


def test_text_from_outside_is_text() -> None:
    """Names of slices, columns, versions and checks may be anything; none of them becomes markup."""
    nasty = '"><script>alert(1)</script>'
    piece = {"name": nasty, "rows": 9, "frauds": 3, "auc_roc": 0.9, "average_precision": 0.5}
    gained = champion(0.01, 0.02, 0.03)
    segment = piece | {"rivals": {"champion": gained | {"average_precision": 0.4}}}
    measured = evaluation(slices=[piece], segments=[segment], drift={nasty: 0.4}, champion=gained | {"version": nasty})
    html = drawn(measured, Verdict(False, (GateCheck(nasty, 0.1, 0.2, False, nasty),), nasty))
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 5


def test_a_plot_keeps_its_points_inside() -> None:
    """Whatever the values: no NaN in the SVG, and every coordinate lies in its box."""
    for points in ([(0.0, 0.0)], [(1.0, 2.0), (1.0, 2.0)], [(-5.0, float("nan")), (3.0, 1e30)], []):
        lines = [PlotLine("one", points, dots=True)]
        xs, ys = ([p[n] for p in points] for n in (0, 1))
        made = drawing.curves(lines, Axis.over("x", xs), Axis.over("y", ys), "plot")
        assert "nan" not in made
        for value in re.findall(r'(?:cx|x1|x2)="([^"]+)"', made):
            assert 0 <= float(value) <= drawing.WIDTH


def test_costs_outside_of_their_range_are_refused() -> None:
    """By name."""
    with pytest.raises(Permanent, match="recovered_share"):
        EvaluateConfig.from_dict({"recovered_share": 1.5})
    with pytest.raises(Permanent, match="alert_cost"):
        EvaluateConfig.from_dict({"alert_cost": -1.0})


def test_the_report_of_a_stage_stays_small() -> None:
    """Forty segments, sixty points and ten explained rows fit the 256 KiB of a report many times over."""
    labels, scores, times, amounts = rows()
    masks = [(f"state={n}", np.arange(len(labels)) % 45 != n) for n in range(60)]
    made = {
        "segments": segments.beside(masks, labels, scores, {"champion": scores, "xgboost_row": scores}, seed=1),
        "thresholds": thresholds.choices(labels, scores, times, amounts, 0.3, Costs(5.0, 0.8, 10)),
    }
    assert len(made["segments"]) == segments.MOST
    assert len(json.dumps(made, indent=1)) < 80_000
