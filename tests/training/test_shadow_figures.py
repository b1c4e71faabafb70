"""What the shadow stage makes of two versions' answers, without a server."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from training.data.presets import preset
from training.outcome import Permanent
from training.shadow import comparison, requests
from training.shadow import shadow as stage
from training.shadow.replay import Answers
from training.shadow.requests import ReplayRequest, fitting
from training.shadow.server import PodServer, telling_line
from training.shadow.shadow import shadow_request

LINE = b"0,0,2019,9,1,06:21,$134.09,Swipe Transaction,3527213246127876953,La Verne,CA,91750.0,5300,,No"
NAN = float("nan")


def answers(*probabilities: float, threshold: float = 0.5) -> Answers:
    scores = np.array(probabilities)
    return Answers(scores, np.nan_to_num(scores) >= threshold, np.full(len(scores), 0.004), "refused")


def asked(*probabilities: float, **inputs: np.ndarray) -> list[ReplayRequest]:
    tensors = {"TRANSACTION": np.array([[LINE]], dtype=np.object_), **inputs}
    return [ReplayRequest(tensors, probability) for probability in probabilities]


def test_control_counts_what_is_repeated_and_a_failure_repeats_nothing() -> None:
    """Three answers on record: one is repeated, one differs, one request failed."""
    found = comparison.control(asked(0.1, 0.2, 0.3), answers(0.10005, 0.25, NAN), 1e-4)
    assert (found["compared"], found["reproduced"]) == (3, 1)
    assert found["max_difference"] == pytest.approx(0.05)


def test_versions_are_compared_on_what_both_answered() -> None:
    """A request that one of them failed is no disagreement."""
    found = comparison.beside(answers(0.9, 0.1, NAN, 0.6), answers(0.4, 0.2, 0.9, 0.7))
    assert (found["compared"], found["disagreements"]) == (3, 1)
    assert comparison.beside(answers(NAN), answers(0.4)) == {"compared": 0, "psi": None, "disagreements": 0}


def test_one_versions_own_figures() -> None:
    """Failures with the first reason, quantiles in milliseconds, alerts of a day if the log says how many come."""
    found = comparison.tried("v", answers(0.9, 0.1, NAN), per_day=1000)
    assert (found["answered"], found["failed"], found["alerts"], found["alerts_per_day"]) == (2, 1, 1, 500.0)
    assert (found["p50_ms"], found["reason"]) == (pytest.approx(4.0), "refused")
    assert comparison.tried("v", None, error="no module")["error"] == "no module"


def test_equal_scores_have_no_psi_and_moved_ones_have_some() -> None:
    """Over the reference's own ten bins; a reference of one value has one bin."""
    scores = np.linspace(0, 1, 200)
    assert comparison.score_psi(scores, scores) == pytest.approx(0)
    assert comparison.score_psi(scores**4, scores) > 0.25
    assert comparison.score_psi(np.zeros(5), np.zeros(5)) == pytest.approx(0)


def test_segments_come_from_the_payments_own_columns() -> None:
    """Worst first; lines of other columns have none, which is no failure."""
    found = comparison.segments(asked(0.1, 0.1), answers(0.9, 0.1), answers(0.1, 0.1), preset())
    by_name = {each["name"]: each for each in found}
    assert by_name["amount=100 and more"] == {
        "name": "amount=100 and more",
        "requests": 2,
        "disagreements": 1,
        "candidate_alerts": 1,
        "champion_alerts": 0,
    }
    strange = [ReplayRequest({"TRANSACTION": np.array([[b"1,2"]], dtype=np.object_)}, 0.1)]
    assert comparison.segments(strange, answers(0.9), answers(0.1), preset()) == []


def test_the_largest_changes_are_named_without_the_payment() -> None:
    """By number, with both scores; what did not change is not among them."""
    ours, theirs = answers(0.1, 0.9, 0.5), answers(0.2, 0.2, 0.5)
    assert comparison.largest_changes(ours, theirs) == [1, 0]
    told = comparison.change(1, ours, theirs, {"candidate": ["amount +1.20"]})
    assert told == {
        "request": 1,
        "candidate": 0.9,
        "champion": 0.2,
        "decisions": [True, False],
        "reasons": {"candidate": ["amount +1.20"]},
    }
    assert comparison.strongest(np.array([0.1, -2.0, 0.5, 0.2]), ["a", "b", "c", "d"]) == [
        "b -2.00",
        "c +0.50",
        "d +0.20",
    ]


def test_requests_of_another_definition_do_not_fit() -> None:
    """Names and widths are those of the model's configuration, whose sizes come as text."""
    config = {"input": [{"name": "TRANSACTION", "dims": ["1"]}, {"name": "COUNTERS", "dims": ["22"]}]}
    plain, wide, other = (
        asked(0.1, COUNTERS=np.zeros((1, 22), dtype=np.float32)),
        asked(0.1, COUNTERS=np.zeros((1, 20), dtype=np.float32)),
        asked(0.1, TERMINAL_HISTORY=np.array([[b""]], dtype=np.object_)),
    )
    assert fitting([*plain, *wide, *other], config) == plain


class Configured(PodServer):
    """A server that takes a transaction alone; it is never started."""

    def config(self, model: str) -> dict[str, Any]:
        """Of any model."""
        return {"input": [{"name": "TRANSACTION", "dims": ["1"]}]}


@pytest.mark.parametrize(("found", "source"), [(0, "export"), (29, "export"), (30, "log")])
def test_too_few_logged_requests_are_no_comparison(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, found: int, source: str
) -> None:
    """Fewer than the policy judges by say nothing: test rows do, of which there are enough."""
    order = StageRequest(
        "fraud-1",
        "fraud",
        Stage.SHADOW,
        1,
        "L",
        "s3://a/runs/fraud-1/shadow/1/L",
        {"repository": "s3://a/models/fraud/new", "champion": "s3://a/models/fraud/old"},
        {"requests": 300, "min_requests": 30, "log_days": 7, "tolerance": 1e-4},
    )
    monkeypatch.setattr(stage, "logged", lambda *_: requests.Sampled("log", asked(*[0.1] * found)))
    monkeypatch.setattr(stage, "exported", lambda *_: requests.Sampled("export", asked(*[0.2] * 300)))
    server = Configured(tmp_path, tmp_path)
    controlled, sampled = stage._sampled(shadow_request(order), server, server)
    assert (controlled.source, sampled.source) == (source, source)


def test_a_logged_request_is_read_in_both_forms() -> None:
    """With `inputs`, as KServe's body has them, or the list alone."""
    tensor = '{"name": "TRANSACTION", "datatype": "BYTES", "shape": [1, 1], "data": ["a,b"]}'
    for text in (f'{{"inputs": [{tensor}]}}', f"[{tensor}]"):
        assert requests._tensors(text)["TRANSACTION"].tolist() == [[b"a,b"]]


def test_an_order_that_lacks_something_is_permanent() -> None:
    """The message names it."""
    order = StageRequest("fraud-1", "fraud", Stage.SHADOW, 1, "L", "s3://a/runs/fraud-1/shadow/1/L", {}, {})
    with pytest.raises(Permanent, match="the shadow order lacks 'repository'"):
        shadow_request(order)


def test_the_line_that_tells_is_the_models_own() -> None:
    """The failure to load a model is worth more than what follows from it."""
    log = "\n".join(
        [
            'I0101 00:00:00.1 1 a.cc:1] "loading: fraud_score:1"',
            'E0101 00:00:00.2 1 server.cc:241] "CudaDriverHelper has not been initialized."',
            "E0101 00:00:00.3 1 b.cc:2] \"failed to load 'fraud_score' version 1: ImportError: No module named 'x'\"",
            "error: creating server: Internal - failed to load all models",
        ]
    )
    assert telling_line(log) == "failed to load 'fraud_score' version 1: ImportError: No module named 'x'"
