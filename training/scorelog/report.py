"""The report on a model's live scores: drift, days and maturity cohorts in one JSON, and as metrics."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from training import storage
from training.scorelog.cohorts import Hashed, answered, cohorts, labelled
from training.scorelog.daily import by_day, series
from training.scorelog.drift import LIMITS, DriftLimits, drift, serving
from training.scorelog.files import DAY, ScoreFiles
from training.scorelog.metrics import Sample
from training.scorelog.read import frames

FORMAT = 1
SPAN_DAYS = 400  # of the log that is looked at
AGES = 6  # months whose cohort has a metric


def live_report(
    files: ScoreFiles,
    version: str,
    now: float,
    limits: DriftLimits = LIMITS,
    matured: Sequence[Mapping[str, Any]] = (),
    without: str = "",
) -> dict[str, Any]:
    """The report as JSON values. `version` is the champion ("": the version that answered last).

    `matured` are the cohorts; `without` says why there are none.
    """
    table = by_day(files, now - SPAN_DAYS * DAY)
    found = drift(table, version or serving(table), now, limits)
    return {
        "format": FORMAT,
        "model": files.model,
        "at": now,
        "version": found.version,
        "verdict": found.verdict,
        "limits": asdict(limits),
        "first": dict(found.first),
        "recent": dict(found.recent),
        "checks": [asdict(check) for check in found.checks],
        "days": series(table),
        "cohorts": list(matured),
        "cohorts_missing": without,
    }


def matured(files: ScoreFiles, dataset: str, now: float, hashed: Hashed) -> list[dict[str, Any]]:
    """The maturity cohorts: the log joined with the data set in the folder `dataset`.

    Raises:
        FileNotFoundError: it is not there, since its files expire.
    """
    with tempfile.TemporaryDirectory(prefix="fraudloop-cohorts-") as scratch:
        path = storage.download(storage.join(dataset, "transactions.parquet"), Path(scratch) / "rows.parquet")
        rows = pl.scan_parquet(path)
        names = rows.collect_schema().names()
        relations = [name.removesuffix("_key") for name in names if name.endswith("_key")]
        columns = ("time", "transaction", "decision", "probability")
        parts = [answered(part, relations) for part in frames(files, now - SPAN_DAYS * DAY, columns=columns)]
        if not parts:
            return []
        answers = pl.concat(parts[::-1])
        wanted = ["time", "label", *(n for n in names if n == "known_at" or n.endswith("_key"))]
        begin = answers["time"].min()
        labels = labelled(rows.filter(pl.col("time") >= begin).select(wanted).collect(), relations, hashed)
    return cohorts(answers, labels, now)


def samples(report: Mapping[str, Any]) -> Iterator[Sample]:
    """What the report tells Prometheus. What is not known is left out, not called 0."""
    for check in report["checks"]:
        if check["passed"] is not None:
            yield "fraudloop_live_drifted", {"check": check["name"]}, float(not check["passed"])
            yield "fraudloop_live_drift_value", {"check": check["name"]}, check["value"]
    for span in ("first", "recent"):
        if rows := report[span]["rows"]:
            yield "fraudloop_live_alert_rate", {"span": span}, report[span]["alerts"] / rows
    for age, cohort in enumerate(reversed(report["cohorts"][-AGES:])):
        for figure in ("precision", "recall"):
            if cohort[figure] is not None:
                yield f"fraudloop_live_cohort_{figure}", {"age": str(age)}, cohort[figure]
