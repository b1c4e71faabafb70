"""One launch of a stage: what it leaves in its folder, in which order, however the work ends."""

import json
import logging
from dataclasses import replace
from typing import Any

import pytest

from statemachine.contracts.report import MAX_BYTES, Outcome, parse
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from training.integrity import sha256_bytes
from training.outcome import Permanent, Refused, StageResult, Transient
from training.runtime import completion_event, stage
from training.runtime.stage import run_stage


@pytest.fixture
def order(tmp_path):
    return StageRequest("fraud-7", "fraud", Stage.TRAIN, 2, "0123456789ab", str(tmp_path / "out"))


@pytest.fixture
def run(order):
    """Runs work quietly, and gives what was announced."""
    announced: list[Any] = []

    def go(work, **change):
        ticks = iter((100.0, 160.0))
        return run_stage(replace(order, **change), work, clock=lambda: next(ticks), announce=announced.append)

    quiet: Any = go
    quiet.announced = announced
    return quiet


def report_of(order):
    with open(f"{order.output_uri}/report.json", "rb") as file:
        return parse(
            file.read(),
            run_id=order.run_id,
            stage=order.stage.value,
            attempt=order.attempt,
            launch_id=order.launch_id,
        )


def test_started_is_there_before_the_work_and_the_report_only_after(run, order, tmp_path):
    """`started.json` is the first write and `report.json` the last."""
    seen: list[Any] = []

    def work(request):
        seen.extend(path.name for path in (tmp_path / "out").iterdir())
        return StageResult()

    run(work)
    assert seen == ["started.json"]
    assert report_of(order).outcome is Outcome.OK


def test_a_report_holds_what_the_work_handed_back(run, order, tmp_path):
    """Outputs with their sha256 (a folder's is its manifest's), metrics, details, times and lineage arrive."""

    def work(request):
        (tmp_path / "file").write_bytes(b"one")
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "MANIFEST.json").write_bytes(b"{}")
        outputs = {name: str(tmp_path / name) for name in ("file", "folder", "nowhere")}
        return StageResult(outputs, {"auc": 0.9}, {"evaluation": {"rows": 3}})

    assert run(work) == report_of(order)
    report = report_of(order)
    sums = {name: artifact.sha256 for name, artifact in report.outputs.items()}
    assert sums == {"file": sha256_bytes(b"one"), "folder": sha256_bytes(b"{}"), "nowhere": ""}
    assert report.details == {"evaluation": {"rows": 3}}
    assert report.metrics["auc"] == 0.9
    assert report.metrics["pod_seconds.train"] == 60.0
    assert (report.started_at, report.finished_at) == (100.0, 160.0)
    assert report.lineage["python"]
    assert run.announced == [report]


def test_a_refusal_is_an_answer(run, order):
    """A stage that refuses succeeds for KFP, and its report has the reason."""

    def work(request):
        raise Refused("nothing new", details={"accepted": 0}, outputs={"objects": "s3x"}, metrics={"rows": 0.0})

    run(work)
    report = report_of(order)
    assert (report.outcome, report.reason, report.details) == (Outcome.REFUSED, "nothing new", {"accepted": 0})
    assert set(report.outputs) == {"objects"}


@pytest.mark.parametrize(
    ("error", "permanent", "reason"),
    [
        (Permanent("bad column", {"column": "Amount"}), True, "bad column"),
        (Transient("throttled"), False, "throttled"),
        (KeyError("x"), False, "KeyError: 'x'"),
        (Permanent("unreadable", {"psi": float("nan")}), True, "unreadable"),
    ],
)
def test_a_failure_is_reported_and_then_raised(run, order, error, permanent, reason):
    """KFP sees the failure too. Foreign errors count as transient. Details that JSON cannot hold are left out."""

    def work(request):
        raise error

    with pytest.raises(type(error)):
        run(work)
    report = report_of(order)
    assert (report.outcome, report.permanent, report.reason) == (Outcome.FAILED, permanent, reason)
    assert run.announced == [report]


@pytest.mark.parametrize(
    "result",
    [
        StageResult(metrics={"auc": float("nan")}),
        StageResult(details={"text": "x" * MAX_BYTES}),
        StageResult(details={"object": object()}),
    ],
    ids=["nan", "too large", "no JSON"],
)
def test_a_report_that_the_controller_could_not_read_is_a_permanent_failure(run, order, result):
    """A stage never leaves a report that `parse` refuses."""
    with pytest.raises(Permanent):
        run(lambda request: result)
    assert report_of(order).permanent


def test_a_refusal_whose_evidence_json_cannot_hold_still_leaves_a_report(run, order):
    """Nothing that work raises may end a launch without `report.json`."""

    def work(request):
        raise Refused("no", metrics={"psi": float("inf")})

    with pytest.raises(Permanent):
        run(work)
    assert report_of(order).outcome is Outcome.FAILED


def test_without_started_json_no_work_is_done(run, tmp_path):
    """If the first write fails, the launch ends: the controller would never adopt its result."""
    (tmp_path / "blocked").write_text("a file where the folder should be")
    done: list[Any] = []
    with pytest.raises(OSError, match="blocked"):
        run(done.append, output_uri=str(tmp_path / "blocked" / "out"))
    assert done == []
    assert run.announced == []


class Bus:
    """A stand-in for the events client: stores the entries and gives the set answer."""

    def __init__(self, answer):
        self.answer, self.entries = answer, []

    def put_events(self, Entries):  # noqa: N803 — as boto3 spells it
        self.entries += Entries
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"FailedEntryCount": 0, "Entries": [{}]}, ""),
        ({"FailedEntryCount": 1, "Entries": [{"ErrorCode": "Throttled"}]}, "refused"),
        (ConnectionError("down"), "the completion event was not sent"),
    ],
)
def test_an_announcement_that_fails_is_logged_and_never_raised(run, caplog, answer, said):
    """PutEvents can fail as a whole or per entry. The stage's own result is unchanged."""
    bus = Bus(answer)
    report = run(lambda request: StageResult())
    completion_event.announce_end(report, {completion_event.BUS: "loop"}, bus)
    warnings = " ".join(line.getMessage() for line in caplog.records if line.levelno >= logging.WARNING)
    assert said in warnings
    assert bool(warnings) == bool(said)
    (entry,) = bus.entries
    assert (entry["Source"], entry["DetailType"]) == ("fraudloop.training", "Stage Finished")
    assert json.loads(entry["Detail"])["launch_id"] == report.launch_id


def test_without_a_bus_nothing_is_announced(run):
    """FRAUDLOOP_EVENT_BUS decides; an unset one is no error."""
    bus = Bus({})
    completion_event.announce_end(run(lambda request: StageResult()), {}, bus)
    assert bus.entries == []


def test_the_manifest_stands_for_a_folder(tmp_path):
    """A folder without a manifest has no digest, because it may be incomplete."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x").write_text("x")
    assert stage.sha256_of(str(tmp_path / "folder")) == ""


def test_a_panic_of_native_code_leaves_its_reason(run, order):
    """polars' PanicException is a BaseException: without a report the run would say nothing about it."""

    class PanicException(BaseException):
        pass

    def work(request):
        raise PanicException("assertion failed: offset + length <= self.length")

    with pytest.raises(PanicException):
        run(work)
    report = report_of(order)
    assert (report.outcome, report.permanent) == (Outcome.FAILED, False)
    assert report.reason == "PanicException: assertion failed: offset + length <= self.length"


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_who_ends_the_process_is_not_held_up(run, order, end):
    """An order to stop is no result."""

    def work(request):
        raise end

    with pytest.raises(end):
        run(work)
    with pytest.raises(FileNotFoundError):
        report_of(order)
