"""A deployment with a history, for the console's pages: releases, a refusal, a run that waits, an attacker's text."""

import os
import time
from dataclasses import asdict, replace
from functools import lru_cache
from typing import Any

import numpy as np
from judged_runs import BUCKET, dataset, evaluation, judged, versus
from played_runs import HAPPY, played

from statemachine.contracts.gate import GatePolicy, gate
from statemachine.contracts.report import Artifact
from statemachine.core.model import Release
from statemachine.core.reason import TransitionReason
from statemachine.core.run import Run
from statemachine.core.window import Object
from statemachine.store import put_run
from training.evaluation import segments, thresholds
from training.evaluation.report_html import ReportPage, page
from training.evaluation.thresholds import Costs
from training.model import metrics

NASTY = '"><img src=x onerror="document.title=\'taken\'"><script>document.title="taken"</script>'
CARD = "4111111111111111"
WAITS = "fraud-6"
QUALITY = ((0.952, 0.38), (0.961, 0.40), (0.958, 0.395), (0.966, 0.42))
CHECKS: tuple[dict[str, Any], ...] = (
    {"name": "frauds", "value": 100, "limit": 10, "passed": True, "note": "100 is not below 10"},
    {"name": "auc_roc", "value": 0.97, "limit": 0.9, "passed": True, "note": "0.97 is not below 0.9"},
    {"name": "drift", "value": 0.1, "limit": 0.5, "passed": True, "note": "mcc moved most"},
)
SHADOW = {
    "outcome": "pass", "passed": True, "reason": "all 3 checks held over 300 requests of the score log",
    "checks": [
        {"name": "control", "value": 1.0, "limit": 0.99, "passed": True, "note": "the champion repeated its answers"},
        {"name": "error_share", "value": 0.0, "limit": 0.0, "passed": True, "note": "no request failed"},
        {"name": "p99_ratio", "value": 1.08, "limit": 3.0, "passed": True, "note": "14.2 ms beside 13.1 ms"},
    ],
}  # fmt: skip


def fill(system: Any, past: bool = True, nasty: str = NASTY) -> None:
    """Four releases (their runs too, if `past`), a refused candidate, one that waits, quarantine and a dead letter.

    `nasty` is what an attacker writes wherever somebody outside can write.
    """
    for number, (auc, precision) in enumerate(QUALITY if past else (), 1):
        before = versus(f"fraud-{number - 1}-{number - 1:08d}") if number > 1 else None
        _judged(system, number, evaluation(auc, precision, before), HAPPY, auc)
    releases = [Release(f"fraud-{n}-{n:08d}", f"fraud-{n}", "s3://x", n, time.time() - 86_400 * (5 - n),
                        dict(zip(("auc_roc", "average_precision"), QUALITY[n - 1], strict=True)))
                for n in (4, 3, 2, 1)]  # fmt: skip
    system.store.change_model("fraud", lambda m: replace(m, champion=releases[0], predecessors=tuple(releases[1:])))
    refused = [*HAPPY[:4], ("REJECTED", 111, TransitionReason.FAILED_GATE, "auc_roc: 0.88 is below 0.9")]
    _judged(system, 5, evaluation(0.88, 0.2, versus("fraud-4-00000004", -0.09)), refused, 0.88)
    _waiting(system, nasty)
    keys = {"2026-11-26.csv": 9, "2026-11-27.csv": 0, f"{nasty or 'labels'}.csv": 0, f"{CARD}.csv": 0}
    keys = keys if nasty else {key: size for key, size in keys.items() if CARD not in key}
    system.intake.arrive([Object("fraudloop-data", f"data/fraud/{key}", etag=key[:8] * 2, size=size, arrived_at=1.8e9)
                          for key, size in keys.items()])  # fmt: skip
    body = f'{{"detail-type": "{nasty}", "card": "{CARD}"}}'
    system.client("sqs").send_message(QueueUrl=os.environ["FRAUDLOOP_NIGHTLY_DLQ_URL"], MessageBody=body)
    system.operations.hold(
        "fraud",
        "arn:aws:iam::123456789012:user/ann",
        f"the labels are being corrected {nasty} {CARD}" if nasty else "the labels are being corrected",
    )
    system.operations.release("fraud", "arn:aws:iam::123456789012:user/ann", "they are right again")


def _judged(system: Any, number: int, measured: dict[str, Any], path: Any, auc: float) -> Run:
    checks = [dict(check) for check in CHECKS]
    checks[1] |= {"value": auc, "passed": auc >= 0.9, "note": f"{auc} is {'not ' if auc >= 0.9 else ''}below 0.9"}
    checks[2]["value"] = 0.07 * number
    verdict = {
        "passed": auc >= 0.9,
        "checks": checks,
        "reason": "all 3 checks held" if auc >= 0.9 else checks[1]["note"],
    }
    return judged(system, number, measured, dataset(f"{number}" * 64, 200_000 + number * 9000), f"c{number}", path=path,
                 verdict=verdict)  # fmt: skip


def _waiting(system: Any, nasty: str) -> None:
    """`WAITS` with a whole evaluation, its report and a verdict; its state is AWAITING_APPROVAL."""
    measured, html = measured_and_report(nasty or "OH")
    path = [
        *HAPPY[:5],
        ("SHADOWING", 114, TransitionReason.EXPORTED, ""),
        ("AWAITING_APPROVAL", 131, TransitionReason.PASSED_FOR_APPROVAL, ""),
    ]
    _judged(system, 6, measured, path, measured["metrics"]["auc_roc"])
    folder = f"{BUCKET}/runs/{WAITS}"
    system.files.write(f"{folder}/evaluate/1/launch/report.html", html.encode())
    files = {"evaluation": "evaluation.json", "report_html": "report.html"}
    outputs = {
        "preprocess": {"dataset": Artifact(f"{folder}/preprocess/1/launch/dataset")},
        "train": {"model": Artifact(f"{folder}/train/1/launch/model")},
        "evaluate": {name: Artifact(f"{folder}/evaluate/1/launch/{file}") for name, file in files.items()},
        "export": {"repository": Artifact(f"{BUCKET}/models/fraud/{WAITS}-00000006")},
    }  # fmt: skip
    verdict = asdict(gate(measured, GatePolicy()))
    system.files.write(f"{BUCKET}/models/fraud/{WAITS}-00000006/MANIFEST.json", b"{}")
    run = system.store.run(WAITS)
    judged_by = {"outputs": outputs, "metrics": measured["metrics"], "verdict": verdict, "shadow": SHADOW}
    changed = replace(run, version=run.version + 1, candidate=f"{WAITS}-00000006", **judged_by)
    system.store.table.write(put_run(changed, "w"))


@lru_cache
def measured_and_report(state: str) -> tuple[dict[str, Any], str]:
    """An evaluation and its page, by the functions of the evaluate stage over scores that are drawn, not learned."""
    rng = np.random.default_rng(11)
    labels = (rng.random(20_000) < 0.012).astype(np.int8)

    def drawn(strength: float) -> Any:
        return (1 / (1 + np.exp(-(rng.normal(-6, 1.5, 20_000) + strength * labels)))).astype(np.float32)

    scores = {"candidate": drawn(6.6), "champion": drawn(5.0), "xgboost_velocity_risk": drawn(4.8)}
    times, amounts = np.sort(rng.integers(0, 90, 20_000)) * 86_400 + 1_600_000_000, rng.gamma(1.2, 90, 20_000)
    masks = [(f"channel={name}", rng.random(20_000) < share) for name, share in (("chip", 0.6), ("online", 0.4))]
    masks += [(f"state={state}", rng.random(20_000) < 0.2)]
    rivals = {"champion": scores["champion"], "xgboost_velocity_risk": scores["xgboost_velocity_risk"]}
    compared = segments.beside([("all", labels >= 0), *masks], labels, scores["candidate"], rivals, 1)
    figures = metrics.ranking(labels, scores["candidate"]) | metrics.decision(labels, scores["candidate"], 0.3)
    gained = compared[0]["rivals"]["champion"]
    measured = {
        "format": 1, "rows": 20_000, "frauds": int(labels.sum()), "threshold": 0.3, "metrics": figures,
        "intervals": {"auc_roc": [figures["auc_roc"] - 0.005, min(figures["auc_roc"] + 0.005, 1.0)]},
        "champion": {"version": "fraud-4-00000004", "metrics": metrics.ranking(labels, scores["champion"]),
                     "difference": gained["difference"]},
        "anchor": None, "drift": {"mcc": 0.31, "cents": 0.04, "state": 0.02},
        "slices": [{key: piece[key] for key in ("name", "rows", "frauds", "auc_roc", "average_precision")}
                   for piece in compared],
        "segments": compared[1:],
        "baselines": {"xgboost_velocity_risk": metrics.ranking(labels, scores["xgboost_velocity_risk"])},
        "reliability": metrics.reliability(labels, scores["candidate"]),
        "thresholds": thresholds.choices(labels, scores["candidate"], times, amounts, 0.3, Costs(5.0, 0.8, 20)),
        "explained": [
            {"kind": kind, "row": row, "time": 1_606_000_000, "amount": 371.2, "score": 0.9,
             "reasons": [{"words": "6 payments of this card within 1 hour", "worth": 1.4},
                         {"words": "these two have not met before", "worth": 0.7}]}
            for kind, row in (("true alert", 17_201), ("false alarm", 17_777), ("missed fraud", 18_912))
        ],
        "identity": {"data": {"rows": 254_000, "first": 1_577_836_800, "last": 1_606_780_800}, "settings": {"seed": 1},
                     "code": {"image": "fraudloop-stage@sha256:aa"}},
        "changes": {"data": {"rows": [236_000, 254_000], "corrected": [0, 112]}, "settings": {},
                    "code": {"image": ["fraudloop-stage@sha256:99", "fraudloop-stage@sha256:aa"]}},
    }  # fmt: skip
    verdict = gate(measured, GatePolicy())
    importance = {"graph_score": 9.0, "amount_log": 4.0, "card_count_1h": 2.5, "merchant_fraud_rate_30d": 2.0}
    report = ReportPage(WAITS, measured, verdict, labels, scores, importance, {"seed": 1, "k": 32})
    return measured, page(report)


__all__ = ["CARD", "NASTY", "WAITS", "fill", "measured_and_report", "played"]
