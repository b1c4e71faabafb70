import io
import json
import re
from collections import Counter
from itertools import pairwise

import polars as pl
import pytest
from rich.console import Console

from local.demo import files, summary
from local.demo.scenarios import SCENARIOS, ScenarioResult, _check_answers
from local.faults import Faults
from statemachine.core.reason import TransitionReason
from statemachine.core.run import Run, Transition
from statemachine.core.states import State


@pytest.fixture(scope="module")
def made():
    return files.make(4_000, seed=7, fraud_rate=0.02)


def read(body):
    return pl.read_csv(io.BytesIO(body), infer_schema_length=0)


def test_the_burst_is_three_files_of_the_rows_that_were_asked_for(made):
    """Together they are the first data set. No two files are equal: an equal object would be known already."""
    assert len(made.first) == 3
    assert sum(len(read(body)) for body in made.first.values()) == 4_000
    bodies = [*made.first.values(), made.second, made.two_faults, made.bad_alone, made.shuffled, made.nightly]
    assert len(set(bodies)) == len(bodies)


def test_each_file_goes_on_where_the_last_one_ended(made):
    """So that a later file fills the test set, and a model is judged on what came after its training."""

    def span(body):
        dates = read(body).select(pl.date(*(pl.col(c).cast(pl.Int32) for c in ("Year", "Month", "Day"))).alias("d"))[
            "d"
        ]
        return dates.min(), dates.max()

    spans = [span(body) for body in [*made.first.values(), made.second, made.shuffled, made.nightly]]
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(spans))


def test_payments_come_in_the_order_in_which_they_were_paid(made):
    """A file is sorted by card. Scored in that order, a merchant's payments would come months late."""
    (later,) = files.parts(4_000, seed=7, fraud_rate=0.02)["later"]
    paid = [tuple(line.split(",")[2:6]) for line in made.payments]
    paid = [(int(year), int(month), int(day), clock) for year, month, day, clock in paid]
    assert paid == sorted(paid)
    assert len(paid) == len(later) > 50


def test_shuffled_labels_are_as_many_but_elsewhere(made):
    """Only the order of the labels differs from an honest file, so only the gate can detect it."""
    (honest,) = files.parts(4_000, seed=7, fraud_rate=0.02)["shuffled"]
    shuffled, label = read(made.shuffled), "Is Fraud?"
    assert shuffled.drop(label).equals(read(honest.write_csv().encode()).drop(label))
    assert shuffled[label].value_counts(sort=True).equals(honest[label].value_counts(sort=True))
    assert (shuffled[label] != honest[label]).sum() > (honest[label] == "Yes").sum()


def test_the_bad_files_are_bad_as_described(made):
    """One lacks a column and has amounts that are no numbers; the other has only such amounts."""
    two, alone = read(made.two_faults), read(made.bad_alone)
    assert "MCC" not in two.columns
    assert "MCC" in alone.columns
    for frame in (two, alone):
        assert (frame["Amount"] == "n/a").sum() == (len(frame) + 82) // 100


def test_a_scenario_without_assertions_did_not_hold():
    """A scenario that did not run verifies nothing."""
    result = ScenarioResult("empty")
    assert not result.held
    result.check("something", True)
    assert result.held
    result.check("something else", False, "why not")
    assert not result.held


def test_a_slow_machine_fails_no_scenario():
    """Notes are shown and do not count; but a scenario with only notes did not hold."""
    result = ScenarioResult("slow")
    result.note("as quickly as asked", False, "14/s")
    assert not result.held
    result.check("no request failed", True)
    assert result.held


class ClientCounts:
    """The counts of a client."""

    def __init__(self, requests, failures, late=0):
        self.requests, self.failures, self.late = requests, Counter(failures), late
        self.failed = self.failures.total()

    def slowest(self):
        return 0.9


@pytest.mark.parametrize(
    ("client", "per_second", "held", "slow"),
    [
        (ClientCounts(1200, {}), 25, True, False),
        (ClientCounts(700, {}), 14, True, True),  # seen: "14 requests/s, 0 failures" ended `make demo` with an error
        (ClientCounts(1200, {}, late=3), 25, True, True),
        (ClientCounts(1200, {"status 503": 1}), 25, False, False),
        (ClientCounts(0, {}), 25, False, True),
    ],
)
def test_failed_requests_fail_a_scenario_and_slow_ones_do_not(client, per_second, held, slow):
    """Correctness is the product's, speed the machine's."""
    result = ScenarioResult("the candidate breaks")
    _check_answers(result, client, per_second)
    assert result.held is held
    assert any(not check.held for check in result.assertions if not check.binding) is slow


def test_the_summary_shows_what_did_not_hold():
    """With what was found. A scenario that was not reached is listed, not marked as failed."""
    result = ScenarioResult("a burst", [Run("fraud-1", "fraud", 1, State.FAILED, metrics={"auc_roc": 0.5})])
    result.check("it SUCCEEDED", False, "its pod was evicted")
    history = [
        Transition("fraud-1", 1, 100.0, "", "QUEUED", TransitionReason.ARRIVAL),
        Transition("fraud-1", 2, 101.0, "QUEUED", "TRAINING", TransitionReason.FROM_TRAIN),
        Transition("fraud-1", 3, 113.5, "TRAINING", "TRAINING", TransitionReason.RETRYABLE_FAILURE, "evicted"),
        Transition("fraud-1", 4, 120.0, "TRAINING", "FAILED", TransitionReason.FAILED, "evicted"),
    ]
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(summary.render([result, ScenarioResult("never played")], {"fraud-1": history}, {"took": "9 s"}))
    text = console.export_text()
    assert re.search("a burst *\n  ✗  it SUCCEEDED  +its pod was evicted", text)
    assert "Not run: never played" in text
    assert summary.stage_seconds(history) == {"train": 19.0}
    data = json.loads(json.dumps(summary.as_data([result], {"fraud-1": history}, {})))
    assert data["scenarios"][0]["runs"][0]["seconds"] == {"train": 19.0}
    assert data["scenarios"][0]["held"] is False


def test_every_scenario_says_what_it_plays():
    """Its docstring is printed when it starts."""
    assert all(play.__doc__ for _, play in SCENARIOS)
    assert len({title for title, _ in SCENARIOS}) == len(SCENARIOS) == 8


def test_a_fault_spares_the_named_versions(tmp_path):
    """Only other versions lose half of each model's largest file. Without the fault nothing breaks."""
    faults = Faults(tmp_path / "state" / "faults.json")
    spoil = faults.spoil()

    def repository(name):
        weights = tmp_path / name / "fraud_score" / "1" / "weights"
        weights.parent.mkdir(parents=True)
        weights.write_bytes(b"x" * 100)
        (weights.parent / "model.py").write_bytes(b"y" * 10)
        spoil(tmp_path / name, name)
        return weights.stat().st_size, (weights.parent / "model.py").stat().st_size

    assert repository("before") == (100, 10)
    faults.spoil_all_but(["good"])
    assert repository("good") == (100, 10)
    assert repository("bad") == (50, 10)
    faults.clear()
    assert repository("after") == (100, 10)
