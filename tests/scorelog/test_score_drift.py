"""Drift compares a version with its own first days; every answer is one of drifted, steady, unknown."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from training.data.presets import preset
from training.live.keys import EntityHash
from training.scorelog.cohorts import answered, cohorts, labelled
from training.scorelog.daily import BINS, by_day, histogram, series, totals
from training.scorelog.drift import DriftLimits, deciles, drift, serving
from training.scorelog.files import DAY, SCHEMA, LogWindow, ScoreFiles
from training.scorelog.metrics import LIVE, push
from training.scorelog.report import live_report, matured, samples
from training.serving.csv_codec import columns
from training.serving.live_line import pseudonymous

BEGIN = 20_840 * DAY  # a day's first second
MINE = "fraud-2-0a1b2c3d"
LIMITS = DriftLimits(first_days=3, recent_days=1, min_rows=500)


def answers(day: int, rows: int = 1000, shift: float = 0.0, rate: float = 0.02, **more: Any) -> pl.DataFrame:
    """Answers of one day, number `day` from BEGIN: scores whose log odds are normal around −5 + shift."""
    random = np.random.default_rng(day * 7919 + rows)
    at = BEGIN + day * DAY + np.sort(random.uniform(0, DAY, rows))
    odds = random.normal(-5 + shift, 1.5, rows)
    values: dict[str, Any] = {
        "id": [f"{int(t * 1000)}-{n}" for n, t in enumerate(at)],
        "request_id": [f"{day}-{n}" for n in range(rows)],
        "at": at,
        "time": at.astype(np.int64),
        "transaction": "x",
        "probability": 1 / (1 + np.exp(-odds)),
        "decision": np.arange(rows) < round(rows * rate),
        "threshold": 0.5,
        "version": MINE,
        "definition": "d",
        "degraded": "",
        "latency_us": 1,
        "request": "",
        "line": "",
    }
    return pl.DataFrame({**values, **more}).select(pl.col(name).cast(kind) for name, kind in SCHEMA.items())


def log(tmp_path, *frames: pl.DataFrame) -> ScoreFiles:
    files = ScoreFiles(str(tmp_path), "fraud")
    for number, frame in enumerate(frames):
        part = files.part(LogWindow.of(f"{int(frame['at'][0] * 1000) + number}-0"))
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        frame.write_parquet(part)
    return files


def found(tmp_path, *frames: pl.DataFrame, day: int = 5, version: str = MINE) -> Any:
    return drift(by_day(log(tmp_path, *frames)), version, BEGIN + (day + 0.5) * DAY, LIMITS)


def figures(result: Any) -> dict[str, bool | None]:
    return {check.name: check.passed for check in result.checks}


def test_equal_days_are_steady(tmp_path):
    """The same payments, the same scores."""
    result = found(tmp_path, *(answers(day) for day in range(6)))
    assert result.verdict == "steady", result.checks
    assert (result.first["rows"], result.recent["rows"]) == (3000, 1000)


def test_scores_that_move_have_drifted(tmp_path):
    """PSI over tenths of the first days."""
    result = found(tmp_path, *(answers(day) for day in range(5)), answers(5, shift=1.0))
    assert figures(result) == {"score_psi": False, "alert_rate_change": True, "degraded_share": True}
    assert result.drifted[0].value > 0.25


def test_more_alerts_have_drifted_and_a_handful_more_are_chance(tmp_path):
    """Beyond half as many again, and beyond three standard errors."""
    usual = [answers(day) for day in range(5)]
    assert figures(found(tmp_path / "a", *usual, answers(5, rate=0.05)))["alert_rate_change"] is False
    few = [answers(day, rows=600, rate=1 / 600) for day in range(5)]
    chance = found(tmp_path / "b", *few, answers(5, rows=600, rate=3 / 600))
    assert figures(chance)["alert_rate_change"] is True
    assert "within chance" in chance.checks[1].note


def test_degraded_answers_are_a_check_of_their_own(tmp_path):
    """They leave the score's PSI alone, because without history all of them would move it."""
    usual = [answers(day) for day in range(5)]
    bad = pl.concat([answers(5), answers(5, rows=200, shift=9, rate=0, degraded="down")])
    assert figures(found(tmp_path, *usual, bad)) == {
        "score_psi": True, "alert_rate_change": True, "degraded_share": False,
    }  # fmt: skip


def test_another_version_is_compared_with_itself(tmp_path):
    """A new champion that scores otherwise is no drift, and cannot be judged before its first days are over."""
    former = [answers(day, shift=-2, version="fraud-1-ffffffff") for day in range(3)]
    young = found(tmp_path, *former, answers(3), answers(4), answers(5))
    assert (young.verdict, serving(by_day(ScoreFiles(str(tmp_path), "fraud")))) == ("unknown", MINE)
    assert "its first 3 days end on" in young.checks[0].note
    assert (young.first["rows"], young.recent["rows"]) == (3000, 0)


def test_few_answers_say_nothing(tmp_path):
    """The note says how many there were."""
    result = found(tmp_path, *(answers(day) for day in range(5)), answers(5, rows=40))
    assert result.verdict == "unknown"
    assert result.checks[0].note == "recent: 40 answers; min_rows is 500"
    assert found(tmp_path / "none").verdict == "unknown"


def test_added_up_nothing_is_missing(tmp_path):
    """Counts by day, version and bin are those of the rows; scores of 0 and 1 have bins too."""
    frames = [answers(0), answers(1, rows=10, probability=[0.0, 1.0] * 5), answers(1, rows=7, version="v")]
    table = by_day(log(tmp_path, *frames))
    assert totals(table) == {"rows": 1017, "alerts": 20, "degraded": 0}
    assert int(histogram(table).sum()) == 1017
    assert [(day["version"], day["rows"]) for day in series(table)] == [(MINE, 1000), (MINE, 10), ("v", 7)]
    assert totals(by_day(ScoreFiles(str(tmp_path), "fraud"), BEGIN + DAY)) == {"rows": 17, "alerts": 0, "degraded": 0}


def test_tenths_hold_about_equally_many():
    """Also where all scores are one."""
    counts = histogram(pl.DataFrame({"bin": range(BINS), "rows": [10] * BINS, "degraded": [0] * BINS}))
    parts = np.split(counts, deciles(counts)[1:])
    assert [int(part.sum()) for part in parts] == [250, 240, 240, 240, 240, 240, 240, 240, 240, 230]
    one = np.zeros(BINS, np.int64)
    one[3] = 5000
    assert deciles(one).tolist() == [0, 4]


def hashed(side: str, key: int) -> bytes:
    return (key * 31 + len(side)).to_bytes(8, "big", signed=True)


def line(card: int, shop: int) -> str:
    keys = f"key:card={hashed('card', card).hex()};,12.50,key:merchant={hashed('merchant', shop).hex()};"
    return f"{keys},Online"


def scored_rows(rows: list[tuple[int, int, int, bool, float]]) -> pl.DataFrame:
    """Answers from (time, card, shop, alert, probability)."""
    return pl.DataFrame(
        {
            "time": [row[0] for row in rows],
            "transaction": [line(row[1], row[2]) for row in rows],
            "decision": [row[3] for row in rows],
            "probability": [row[4] for row in rows],
        }
    )


def test_alerts_meet_their_labels(tmp_path):
    """Known at the time that is asked about, by time and entities, equal ones in their order."""
    log_rows = scored_rows(
        [
            (BEGIN, 1, 1, True, 0.9),  # fraud, known
            (BEGIN, 1, 1, True, 0.7),  # the second of the same: good
            (BEGIN + 60, 2, 1, True, 0.8),  # fraud, but reported later than asked
            (BEGIN + 60, 3, -4, False, 0.1),  # a fraud that was missed
            (BEGIN + 90, 5, 5, True, 0.6),  # not in the data set
        ]
    )
    rows = pl.DataFrame(
        {
            "time": [BEGIN, BEGIN, BEGIN + 60, BEGIN + 60, BEGIN + 61],
            "card_key": [1, 1, 2, 3, 9],
            "merchant_key": [1, 1, 1, -4, 9],
            "label": [1, 0, 1, 1, 1],
            "known_at": [BEGIN + 500, BEGIN + 500, BEGIN + 9000, BEGIN + 70, BEGIN],
        }
    )
    relations = ("card", "merchant")
    made = cohorts(answered(log_rows, relations), labelled(rows, relations, hashed), BEGIN + 1000)
    assert made == [
        {"month": "2027-01", "payments": 5, "matched": 4, "labelled": 3, "alerts": 4, "known": 2, "frauds": 1,
         "missed": 1, "expected": pytest.approx(1.6), "precision": 0.5, "recall": 0.5}
    ]  # fmt: skip
    [later] = cohorts(answered(log_rows, relations), labelled(rows, relations, hashed), BEGIN + 10_000)
    assert (later["known"], later["frauds"]) == (3, 2)


def test_unknown_labels_are_not_good_ones():
    """Label −1 and a month of which nothing is known: no precision, instead of 0."""
    log_rows = scored_rows([(BEGIN, 1, 1, True, 0.9)])
    rows = pl.DataFrame({"time": [BEGIN], "card_key": [1], "merchant_key": [1], "label": [-1]})
    [made] = cohorts(answered(log_rows, ("card", "merchant")), labelled(rows, ("card", "merchant"), hashed), BEGIN * 2)
    assert (made["known"], made["precision"], made["recall"]) == (0, None, None)


def test_the_report_reads_log_and_data_set(tmp_path):
    """All of it in one JSON; metrics leave out what is not known."""
    day = answers(5).with_columns(transaction=pl.lit(line(1, 2)))
    files = log(tmp_path, *(answers(number) for number in range(5)), day)
    folder = tmp_path / "dataset"
    folder.mkdir()
    rows = {"time": day["time"], "card_key": [1] * 1000, "merchant_key": [2] * 1000, "label": [1] * 1000}
    pl.DataFrame(rows).write_parquet(folder / "transactions.parquet")
    now = BEGIN + 5.9 * DAY
    made = live_report(files, MINE, now, LIMITS, matured(files, str(folder), now, hashed))
    assert made["verdict"] == "steady"
    assert [(c["matched"], c["precision"]) for c in made["cohorts"]] == [(1000, 1.0)]
    told = {(name, *labels.values()): value for name, labels, value in samples(made)}
    assert told["fraudloop_live_drifted", "score_psi"] == 0
    assert told["fraudloop_live_alert_rate", "first"] == pytest.approx(0.02)
    assert told["fraudloop_live_cohort_precision", "0"] == 1
    young = live_report(files, "fraud-9-00000000", now, LIMITS)
    assert list(samples(young)) == []


def test_a_metric_that_is_not_in_the_catalogue_is_not_sent():
    """And a gateway that is away costs nothing but a line in the log."""
    sent: list[Any] = []
    environment = {"FRAUDLOOP_PUSHGATEWAY": "http://x"}
    sending = lambda *arguments, **options: sent.append(options["grouping_key"])  # noqa: E731
    assert not push("fraud", LIVE, [("fraudloop_nonsense", {}, 1.0)], environment, sending)
    assert push("fraud", LIVE, [("fraudloop_live_drifted", {"check": "x"}, 1.0)], environment, sending)
    assert sent == [{"model": "fraud"}]
    assert not push("fraud", LIVE, [], {}, sending)


def test_answers_of_live_scoring_meet_the_data_set_s_rows():
    """As `fraud_live` writes a line and hashes entities: the same secret finds the row, another one does not."""
    data, secret = preset(), EntityHash("a secret of the test")
    cells = {"User": "7", "Card": "1", "Year": "2027", "Month": "1", "Day": "22", "Time": "00:00", "Amount": "$12.50"}
    told = ",".join(cells.get(column, "5") for column in columns(data))
    keys = {"card": 71, "merchant": -3}
    logged = pseudonymous(told.encode(), {side: secret.of(side, key) for side, key in keys.items()}, data)
    log_rows = pl.DataFrame({"time": [BEGIN], "transaction": [logged], "decision": [True], "probability": [0.9]})
    rows = pl.DataFrame({"time": [BEGIN], **{f"{side}_key": [key] for side, key in keys.items()}, "label": [1]})
    relations = data.relations
    [found] = cohorts(answered(log_rows, relations), labelled(rows, relations, secret.of), BEGIN + 1)
    assert (found["matched"], found["frauds"]) == (1, 1)
    [other] = cohorts(answered(log_rows, relations), labelled(rows, relations, EntityHash("another").of), BEGIN + 1)
    assert other["matched"] == 0
