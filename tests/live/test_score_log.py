"""What live scoring answers is what the score log holds, and its alerts meet the labels of the data set."""

from pathlib import Path

import numpy as np
import polars as pl
from live_cases import KEY, Replayed, Server, ask, pod, settings

from training.live.keys import EntityHash
from training.scorelog.archive import Archiver
from training.scorelog.files import ScoreFiles
from training.scorelog.forget import erase
from training.scorelog.read import read
from training.scorelog.report import live_report, matured
from training.serving.live_line import telling


def test_from_payment_to_log_to_cohort(replayed: Replayed, server: Server, tmp_path: Path) -> None:
    """Every payment once, retries too, with the very score; joined with the data set, all of them find their label."""
    rows = replayed.last(300)
    given, answers = settings(server, sample_share=1.0), {}
    with pod(replayed.model, given) as (live, _):
        for row, line in zip(rows, replayed.lines(rows), strict=True):
            answers[f"row-{row}"] = ask(live, line, f"row-{row}")
            ask(live, line, f"row-{row}")  # a client's retry
    archiver = Archiver(server.client(), ScoreFiles(str(tmp_path), "fraud"))
    told = archiver.once(archiver.now() + 60_000)
    logged = read(str(tmp_path), "fraud")
    assert (told.rows, told.rejected, told.lost) == (len(rows), 0, 0)
    assert logged["request_id"].to_list() == list(answers)
    assert set(logged["line"]) == {""}, "nobody asked for lines, which hold card numbers"
    scores = np.array([answer["PROBABILITY"][0, 0] for answer in answers.values()], np.float32)
    assert np.array_equal(logged["probability"].to_numpy(), scores)
    assert len(read(str(tmp_path), "fraud", only_requests=True)) == len(rows)
    now = float(logged["at"].max()) + 1  # type: ignore[arg-type]
    found = matured(archiver.files, str(replayed.dataset), now, EntityHash(KEY).of)
    labels = pl.read_parquet(replayed.dataset / "transactions.parquet")[rows].filter(pl.col("label") >= 0)
    assert sum(month["matched"] for month in found) == len(rows)
    assert sum(month["labelled"] for month in found) == len(labels)
    assert sum(month["frauds"] + month["missed"] for month in found) == int((labels["label"] == 1).sum())
    key = int(replayed.table["card_key"][rows[-1]])
    theirs = sum(int(one) == key for one in replayed.table["card_key"][rows])
    data, hashed = replayed.definition.data, EntityHash(KEY).of("card", key)
    mark, tells = f"key:card={hashed.hex()};", telling(data, "card", hashed)
    erased = erase(archiver.files, mark, tells)
    left = read(str(tmp_path), "fraud")
    assert (erased.answers, len(left)) == (theirs, len(rows) - theirs)
    assert erased.requests > 0, "no other payment's history held the card: the test shows nothing"
    assert len(left.filter(pl.col("request") == "")) == erased.requests
    assert not any(tells(text) for text in left["request"].to_list() if text)
    assert erase(archiver.files, mark, tells).files == 0
    report = live_report(archiver.files, "fraud-1-00000000", now)
    assert (report["verdict"], report["first"]["rows"]) == ("unknown", len(left))
