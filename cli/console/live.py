"""Live scoring as the score log tells it: answers, alerts, degraded ones and latency, by hour. Imports polars late."""

import importlib
from collections.abc import Mapping
from typing import Any

from statemachine.bootstrap import App
from training.evaluation import drawing
from training.evaluation.drawing import Axis, PlotLine

SPAN = 24 * 3600.0  # seconds that are shown
MOST = 200_000  # newest answers that are read for a page
WHY_MOST = 5


def live(app: App, model: str, now: float) -> dict[str, Any]:
    """The last day of a model's answers; `says` is why there is nothing to show."""
    shown: dict[str, Any] = {
        "model": model,
        "models": list(app.policies),
        "hours": SPAN / 3600,
        "says": "",
        "most": MOST,
    }
    try:
        reading = importlib.import_module("training.scorelog.read")
    except ImportError as error:
        return shown | {"says": f"The score log cannot be read here: {error}. Run `fraudloop console` where polars is."}
    frame = reading.read(app.policies[model].root, model, now - SPAN, MOST)
    if frame.is_empty():
        return shown | {"says": f"No answer of the last {SPAN / 3600:.0f} hours is in the score log of {model}."}
    return shown | summary(frame)


def summary(frame: Any) -> dict[str, Any]:
    """Figures and plots of a frame of records (`training.scorelog.files.SCHEMA`)."""
    pl = importlib.import_module("polars")
    latency = pl.col("latency_us") / 1000
    figures = {
        "answers": pl.len(),
        "alerts": pl.col("decision").sum(),
        "degraded": (pl.col("degraded") != "").sum(),
        "p50": latency.quantile(0.5),
        "p99": latency.quantile(0.99),
    }
    total = frame.select(**figures).to_dicts()[0]
    hours = frame.group_by(hour=(pl.col("at") // 3600 * 3600)).agg(**figures).sort("hour").to_dicts()
    why = frame.filter(pl.col("degraded") != "").group_by("degraded").len().sort("len", descending=True).head(WHY_MOST)
    versions = frame.group_by("version").agg(answers=pl.len(), last=pl.col("at").max()).sort("last", descending=True)
    return {
        "total": total,
        "why": why.rows(),
        "versions": versions.head(WHY_MOST).rows(),
        "newest": float(frame["at"].max()),
        "full": len(frame) >= MOST,
        "plots": _plots(hours),
    }


def _plots(hours: list[Mapping[str, Any]]) -> dict[str, str]:
    across = Axis.over("", [row["hour"] for row in hours], dates=True)
    latency = [
        PlotLine(name, [(row["hour"], row[name]) for row in hours], dots=len(hours) < 3) for name in ("p50", "p99")
    ]
    shares = [
        PlotLine(name, [(row["hour"], row[name] / row["answers"]) for row in hours], dots=len(hours) < 3)
        for name in ("alerts", "degraded")
    ]
    answers = [PlotLine("answers an hour", [(row["hour"], row["answers"]) for row in hours], dots=len(hours) < 3)]

    def up(label: str, lines: list[PlotLine]) -> Axis:
        most = max(value for line in lines for _, value in line.points)
        return Axis(label, 0.0, most * 1.1 or 1.0)

    return {
        "latency": drawing.curves(latency, across, up("milliseconds", latency), "Latency by hour"),
        "shares": drawing.curves(shares, across, up("share of answers", shares), "Alerts and degraded answers by hour"),
        "answers": drawing.curves(answers, across, up("", answers), "Answers by hour"),
    }
