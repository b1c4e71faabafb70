"""`fraudloop drift`: report, status, and the run that it may ask for."""

import json
import time
from typing import Any

import numpy as np
import polars as pl
import pytest

from cli.commands import drift
from statemachine.contracts import paths
from statemachine.core.reason import TransitionReason
from statemachine.core.run import Transition, Trigger, queued
from training import storage
from training.scorelog.files import DAY, SCHEMA, LogWindow, ScoreFiles

VERSION = "fraud-1-aabbccdd"


def logged(root: str, day: int, alerts: int, rows: int = 1000) -> None:
    """A day of answers, number `day` before now."""
    at = (time.time() - day * DAY) // DAY * DAY + np.linspace(1, DAY - 1, rows)
    values: dict[str, Any] = {name: [""] * rows for name in SCHEMA} | {
        "at": at,
        "time": at.astype(np.int64),
        "probability": np.linspace(0.001, 0.2, rows),
        "decision": np.arange(rows) < alerts,
        "threshold": [0.5] * rows,
        "version": [VERSION] * rows,
        "latency_us": [1] * rows,
    }
    frame = pl.DataFrame(values).select(pl.col(name).cast(kind) for name, kind in SCHEMA.items())
    storage.write_bytes(ScoreFiles(root, "fraud").part(LogWindow.of(f"{int(at[0] * 1000)}-0")), _bytes(frame))


def _bytes(frame: pl.DataFrame) -> bytes:
    import io

    made = io.BytesIO()
    frame.write_parquet(made)
    return made.getvalue()


@pytest.fixture
def scores(succeeded, system):
    """Ten days of answers of the champion; on the last one twice as many alerts."""
    root = f"s3://{system.settings.artifacts_bucket}"
    for day in range(9, 0, -1):
        logged(root, day, alerts=30)
    logged(root, 0, alerts=90)
    return root


@pytest.fixture
def asked(monkeypatch):
    """What the nightly function was told."""
    events: list[Any] = []

    def invoked(event: Any) -> Any:
        events.append(event)
        return {"slot": event["slot"], "began": {"fraud": "fraud-2"}}

    monkeypatch.setattr(drift, "invoke_with", invoked)
    return events


def test_a_drifted_champion_is_status_1_and_says_by_how_much(scores, fraudloop):
    """One check failed; cohorts need the secret, and the answer says so."""
    ran = fraudloop("drift", "--json")
    assert ran.exit_code == 1
    told = json.loads(ran.stdout)
    assert {check["name"]: check["passed"] for check in told["checks"]} == {
        "score_psi": True, "alert_rate_change": False, "degraded_share": True,
    }  # fmt: skip
    assert (told["version"], told["verdict"], len(told["days"])) == (VERSION, "drifted", 10)
    assert "FRAUDLOOP_ENTITY_KEY is not set" in told["cohorts_missing"]
    page = fraudloop("drift").output
    assert "3.000% of the payments in the first days, 9.000% now" in page


def test_the_report_is_kept_where_others_read_it(scores, fraudloop):
    """Beside the log, and no day of it."""
    fraudloop("drift", "--save")
    assert storage.read_json(paths.drift_report(scores, "fraud"))["verdict"] == "drifted"
    assert len(ScoreFiles(scores, "fraud").by_day()) == 10


def test_it_asks_for_a_run_through_the_night(scores, fraudloop, asked):
    """The slot is the beginning of the cooldown's span, so the nightly function counts it once."""
    ran = fraudloop("drift", "--ask", "--cooldown-hours", "12")
    [event] = asked
    assert event["slot"][11:] in ("00:00:00Z", "12:00:00Z")
    assert event["models"] == ["fraud"]
    assert event["why"].startswith("the live scores drifted: alert_rate_change 2")
    assert "fraud-2 begins" in ran.output


def test_a_steady_champion_asks_for_nothing(scores, fraudloop, asked, system):
    """Without drift nothing is asked, whatever the options."""
    logged(scores, 0, alerts=31)
    assert fraudloop("drift", "--ask").exit_code == 0
    assert asked == []


def test_what_it_may_ask_for_in_a_month_is_limited(scores, fraudloop, asked, system):
    """Runs that drift began are counted from the record, so no other counter can disagree."""
    for number in (7, 8):
        trigger = Trigger("nightly", "s", f"{drift.BEGAN}: x")
        run = queued(f"fraud-{number}", "fraud", number, time.time(), trigger=trigger)
        entry = Transition(run.id, 1, time.time(), "", "QUEUED", TransitionReason.NIGHTLY)
        system.store.begin(run, system.store.model("fraud"), entry)
    ran = fraudloop("drift", "--ask", "--most-a-month", "2")
    assert asked == []
    assert "no run is asked for: 2 of the last 30 days began so, and 2 may" in ran.output


def test_a_job_fails_only_if_it_could_not_tell(scores, fraudloop):
    """Drift is told by its metric and its alert."""
    assert fraudloop("drift", "--scheduled").exit_code == 0
    assert fraudloop("drift", "--scheduled", "--push", "http://127.0.0.1:9").exit_code == 1
