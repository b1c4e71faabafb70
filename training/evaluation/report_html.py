"""The report about one candidate as one self-contained HTML file."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from statemachine.contracts.gate import Verdict
from training.evaluation import plots

TOP_FEATURES = 15
STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2.2rem; border-bottom: 1px solid #e4e7eb; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .2rem .9rem .2rem 0; border-bottom: 1px solid #f0f2f4; vertical-align: top; }
td.n, th.n { text-align: right; } .no { color: #b91c1c; font-weight: 600; } .yes { color: #15803d; }
.row { display: flex; flex-wrap: wrap; gap: 1rem 2rem; } figure { margin: 0; } figcaption { font-weight: 600; }
.verdict { padding: .6rem 1rem; border-left: .4rem solid; background: #f7f8f9; } svg { max-width: 100%; height: auto; }
"""


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
    candidate = next(iter(report.scores_by_model.values()))
    return "\n".join(
        [
            f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(report.title)}</title>",
            f"<style>{STYLE}</style><h1>{escape(report.title)}</h1>",
            _opening(evaluation, report.verdict),
            "<h2>The gate</h2>",
            _checks(report.verdict),
            "<h2>Figures on later data, at natural prevalence</h2><div class='row'>",
            _metrics(evaluation),
            _beside(evaluation),
            "</div><h2>Curves</h2><div class='row'>",
            _image("Precision and recall", plots.precision_recall(report.labels, report.scores_by_model)),
            _image("ROC", plots.roc(report.labels, report.scores_by_model)),
            _image("Calibration", plots.calibration(evaluation["reliability"])),
            _image("Scores", plots.histogram(report.labels, candidate, evaluation["threshold"])),
            "</div><h2>Slices</h2>",
            _table(
                ("slice", "rows", "frauds", "AUC-ROC", "average precision"),
                (
                    [s["name"], s["rows"], s["frauds"], s["auc_roc"], s["average_precision"]]
                    for s in evaluation["slices"]
                ),
            ),
            "<h2>What the head listens to, and what has drifted</h2><div class='row'>",
            _image("Top features, share of the total gain", plots.bars(_top(report.importance), "share of gain")),
            _drift(evaluation["drift"]),
            "</div><h2>Settings</h2>",
            _table(("setting", "value"), ([name, str(value)] for name, value in sorted(report.config.items()))),
            "</html>",
        ]
    )


def _opening(evaluation: Mapping[str, Any], verdict: Verdict) -> str:
    word, colour = ("passes", "#15803d") if verdict.passed else ("does not pass", "#b91c1c")
    return (
        f"<p class='verdict' style='border-color:{colour}'><b>This candidate {word} the gate.</b> "
        f"{escape(verdict.reason)}<br>{evaluation['rows']:,} transactions, {evaluation['frauds']:,} frauds. "
        "What is released is the controller's decision.</p>"
    )


def _checks(verdict: Verdict) -> str:
    marks = {True: "<span class='yes'>held</span>", False: "<span class='no'>failed</span>"}
    rows = [[check.name, check.value, check.limit, _Raw(marks[check.passed]), check.note] for check in verdict.checks]
    return _table(("check", "figure", "limit", "", "note"), rows)


def _metrics(evaluation: Mapping[str, Any]) -> str:
    intervals = evaluation["intervals"]
    rows = [
        [name, value, " … ".join(_shown(bound) for bound in intervals.get(name, []))]
        for name, value in evaluation["metrics"].items()
    ]
    return _table(("metric", "candidate", "95 % interval"), [*rows, ["threshold", evaluation["threshold"], ""]])


def _beside(evaluation: Mapping[str, Any]) -> str:
    rows = [["candidate", evaluation["metrics"]["auc_roc"], evaluation["metrics"]["average_precision"], ""]]
    for role in ("champion", "anchor"):
        if (other := evaluation[role]) is None:
            rows.append([f"{role} (none)", None, None, ""])
        elif "error" in other:
            rows.append([f"{role} {other['version']}", None, None, other["error"]])
        else:
            gained = other["difference"]["auc_roc"]
            note = f"AUC of the candidate {gained['mean']:+.4f}, at least {gained['low']:+.4f} (95 %, one-sided)"
            rows.append([f"{role} {other['version']}", *_ranking(other["metrics"]), note])
    rows += [[name, *_ranking(metrics), "same seeds, same rows"] for name, metrics in evaluation["baselines"].items()]
    return _table(("on the same rows", "AUC-ROC", "average precision", ""), rows)


def _ranking(metrics: Mapping[str, float]) -> list[float]:
    return [metrics["auc_roc"], metrics["average_precision"]]


def _drift(drift: Mapping[str, float]) -> str:
    if not drift:
        return "<p>Drift: no champion's profile to compare with.</p>"
    return _image("Drift against the champion's data (PSI)", plots.bars(drift, "PSI; above 0.25 reads as shifted"))


def _top(importance: Mapping[str, float]) -> dict[str, float]:
    total = sum(importance.values()) or 1.0
    ranked = sorted(importance.items(), key=lambda item: -item[1])[:TOP_FEATURES]
    return {name: gain / total for name, gain in ranked}


def _image(caption: str, svg: str) -> str:
    return f"<figure><figcaption>{escape(caption)}</figcaption>{svg}</figure>"


class _Raw(str):
    """Markup that needs no escaping."""


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    heading = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in rows)
    return f"<table><tr>{heading}</tr>{body}</table>"


def _cell(value: Any) -> str:
    if isinstance(value, _Raw):
        return f"<td>{value}</td>"
    numeric = value is None or isinstance(value, int | float)
    return f"<td{' class=n' if numeric else ''}>{escape(_shown(value))}</td>"


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
