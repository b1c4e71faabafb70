"""The report about one candidate as one self-contained HTML file: the recommendation first, then what it rests on."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray

from statemachine.contracts.gate import Verdict
from training.evaluation import drawing, plots
from training.evaluation.advice import advise, strongest
from training.evaluation.drawing import Axis, PlotLine

HERE = Path(__file__).parent
TOP_FEATURES = 15
STYLE = (HERE / "page.css").read_text(encoding="utf-8")


@dataclass(frozen=True)
class ReportPage:
    """The contents of the page: the evaluation, the gate's verdict, and the scores for the plots."""

    title: str
    evaluation: Mapping[str, Any]
    verdict: Verdict
    labels: NDArray[np.int8]
    scores_by_model: Mapping[str, NDArray[np.float32]]
    importance: Mapping[str, float]
    config: Mapping[str, Any]


def page(report: ReportPage) -> str:
    """Return the page."""
    evaluation = report.evaluation
    failed = {check.name: check.note for check in report.verdict.checks if not check.passed}
    html: str = _template().render(
        title=report.title,
        style=STYLE,
        evaluation=evaluation,
        verdict=report.verdict,
        advice=advise(evaluation, report.verdict.passed, failed),
        rivals=_rivals(evaluation),
        thresholds=evaluation.get("thresholds"),
        segments=evaluation.get("segments", []),
        slices=evaluation["slices"],
        changes=evaluation.get("changes"),
        explained=evaluation.get("explained", []),
        identity=evaluation.get("identity", {}),
        config=report.config,
        plots=_plots(report),
    )
    return html


def _rivals(evaluation: Mapping[str, Any]) -> dict[str, str]:
    """The two that each segment is compared with: their names in the evaluation, and how people call them."""
    champion, best = evaluation.get("champion") or {}, strongest(evaluation.get("baselines", {}))
    named = {"champion": f"champion {champion.get('version', '')}"} if champion else {}
    return named | ({best: f"strongest baseline, {best}"} if best else {})


def _plots(report: ReportPage) -> dict[str, str]:
    """The drawn plots by name; one whose figures this evaluation lacks is not there."""
    evaluation, scores = report.evaluation, report.scores_by_model
    candidate = next(iter(scores.values()))
    drawn = {
        "precision_recall": plots.precision_recall(report.labels, scores),
        "roc": plots.roc(report.labels, scores),
        "calibration": plots.calibration(evaluation["reliability"]),
        "scores": plots.histogram(report.labels, candidate, evaluation["threshold"]),
        "importance": drawing.bars(_top(report.importance), "The features with the largest share of the gain"),
    }
    if evaluation["drift"]:
        drawn["drift"] = drawing.bars(evaluation["drift"], "How far each column moved, as PSI", limit=0.25)
    if thresholds := evaluation.get("thresholds"):
        drawn |= threshold_plots(thresholds)
    for rival in _rivals(evaluation):
        rows = [
            (segment["name"], *(gained[bound] for bound in ("low", "mean", "high")))
            for segment in evaluation.get("segments", ())
            if (gained := segment["rivals"].get(rival, {}).get("difference", {}).get("average_precision"))
        ]
        if rows:
            drawn[f"segments {rival}"] = drawing.intervals(rows[:TOP_FEATURES], f"Gain in each segment over {rival}")
    return drawn


def threshold_plots(thresholds: Mapping[str, Any]) -> dict[str, str]:
    """Money and detection over alerts a day, with the marked rules."""
    curve = [row for row in thresholds["curve"] if row["alerts_a_day"] > 0]
    marks = {rule: row["alerts_a_day"] for row in thresholds["rows"] for rule in row["rule"].split(", ") if rule}
    across = Axis.over("alerts a day", [row["alerts_a_day"] for row in curve], log=True)
    money = [
        PlotLine(name, [(row["alerts_a_day"], row[f"{key}_a_day"]) for row in curve])
        for name, key in (("net", "net"), ("saved", "saved"), ("cost of alerts", "alert_costs"))
    ]
    # Far beyond the useful thresholds the alerts cost more than all fraud; that depth would flatten the rest.
    most = max((row["saved_a_day"] for row in curve), default=1.0) or 1.0
    shares = [PlotLine(name, [(row["alerts_a_day"], row[name]) for row in curve]) for name in ("precision", "recall")]
    return {
        "money": drawing.curves(
            money, across, Axis("money a day", -0.25 * most, most * 1.05), "Money a day over alerts a day", marks
        ),
        "detection": drawing.curves(
            shares, across, Axis("share", 0, 1), "Precision and recall over alerts a day", marks
        ),
    }


def _top(importance: Mapping[str, float]) -> dict[str, float]:
    total = sum(importance.values()) or 1.0
    ranked = sorted(importance.items(), key=lambda item: -item[1])[:TOP_FEATURES]
    return {name: gain / total for name, gain in ranked}


def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"figure": figure, "money": money, "utc": utc, "signed": signed}
    return environment.get_template("report.html.j2")


def figure(value: Any) -> str:
    """A number, short; anything else as it is."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def signed(value: float) -> str:
    """A difference, with its sign."""
    return f"{value:+.3f}".replace("-", "−")


def money(value: float) -> str:
    """An amount, whole from a hundred on."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}"


def utc(seconds: Any) -> str:
    """A moment; anything that is none as it is."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not abs(seconds) < 1e11:
        return str(seconds)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
