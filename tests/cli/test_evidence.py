"""`why`, `compare`, `diff`, `open`: on what a run was judged, and in what two differ."""

from pathlib import Path

import pytest
from judged_runs import BUCKET, dataset, evaluation, judged, versus
from played_runs import HAPPY, played, read

from cli.output import console
from statemachine.contracts.gate import GatePolicy, gate
from statemachine.contracts.stage import Stage
from statemachine.core.effects import _on_record
from statemachine.core.reason import TransitionReason
from statemachine.core.window import Object

REJECTED = [*HAPPY[:4], ("REJECTED", 111, "failed_gate", "champion.auc_roc: lower bound -0.0300 is below -0.0050")]


@pytest.fixture(params=[80, 120])
def wide(request, monkeypatch):
    """A terminal of that many columns."""
    monkeypatch.setattr(console, "_width", request.param)
    return request.param


def fits(done, width):
    """The output with single blanks; no line is longer than the terminal."""
    assert done.exit_code == 0, done.output
    assert max(map(len, done.stdout.splitlines())) <= width
    return " ".join(done.stdout.split())


def verdict(measured):
    return dict(_on_record(gate(measured, GatePolicy())))


@pytest.fixture
def pair(system):
    """`fraud-1` serves; `fraud-2` was judged on other rows, beside it."""
    first = evaluation(0.96, 0.40)
    judged(system, 1, first, dataset("aa", 100_000), "c0ffee", verdict=verdict(first))
    second = evaluation(0.962, 0.42, versus("fraud-1-00000001"), rows=12_000)
    judged(system, 2, second, dataset("bb", 120_000), "decade", verdict=verdict(second))
    return system


@pytest.mark.usefixtures("pair")
def test_why_shows_each_check_with_its_interval_and_count(fraudloop, wide):
    """The paired interval of a check against the champion; frauds and rows of a slice are the slice's own."""
    told = fits(fraudloop("why", "fraud-2"), wide)
    assert "fraud-2 is SUCCEEDED" in told
    assert "0.9520…0.9720" in told
    assert "champion.auc_roc" in told
    assert "-0.0030…+0.0070" in told
    checks = {check["name"]: check for check in read(fraudloop("why", "fraud-2", "--json"))["checks"]}
    assert (checks["slice channel=online"]["frauds"], checks["slice channel=online"]["rows"]) == (60, 1000)
    assert (checks["auc_roc"]["limit"], checks["auc_roc"]["frauds"], checks["auc_roc"]["rows"]) == (0.9, 100, 12_000)
    assert checks["drift"]["interval"] is None


def test_why_of_a_rejected_run_names_the_check_that_failed(system, fraudloop, wide):
    """With its words; what a failed attempt said is there too."""
    measured = evaluation(0.95, 0.30, versus("fraud-1-00000001", low=-0.03))
    judged(system, 3, measured, dataset("cc", 90_000), "c0ffee", path=REJECTED, verdict=verdict(measured))
    told = fits(fraudloop("why", "fraud-3"), wide)
    assert "fraud-3 is REJECTED" in told
    assert "✗" in told
    assert "lower bound -0.0300 against fraud-1-00000001 is below -0.0050" in told


@pytest.mark.parametrize("end", ["FAILED", "ROLLED_BACK"])
def test_why_of_a_run_that_was_never_judged_tells_the_attempts(system, fraudloop, wide, end):
    """Each failed attempt with its reason, then what is at fault, and what to do next."""
    tried = ("TRAINING", 50, TransitionReason.RETRYABLE_FAILURE, "train: the node was evicted")
    played(
        system,
        path=[*HAPPY[:3], tried, (end, 90, TransitionReason.FAILED, "training, attempt 2: no memory")],
        fault="oom",
    )
    told = fits(fraudloop("why", "fraud-1"), wide)
    assert f"fraud-1 is {end}" in told
    assert "the node was evicted" in told
    assert "no memory" in told
    assert "The gate was not asked." in told
    assert "at fault oom" in told


def test_why_names_refused_objects_and_what_people_asked(system, fraudloop):
    """An object that was set aside, and the cancel with its reason."""
    system.intake.arrive([Object("fraudloop-data", "data/fraud/empty.csv", etag="e", size=0)])
    system.operations.start("fraud", "ann", "x")
    run = played(system, path=HAPPY[:2], run_id="fraud-2")
    system.operations.quarantine("fraud", "data/fraud/empty.csv", "ann", "empty")
    fraudloop("cancel", run.id, "--why", "wrong data")
    told = " ".join(fraudloop("why", run.id).stdout.split())
    assert "cancel arn:aws:" in told
    assert "wrong data" in told


@pytest.mark.usefixtures("pair")
def test_compare_with_the_champion_has_paired_intervals_on_the_same_rows(fraudloop, wide):
    """B's evaluation scored A on B's rows."""
    told = fits(fraudloop("compare", "fraud-1", "fraud-2-00000002"), wide)
    assert told.startswith("Both were measured on the same rows: 12,000 test rows with 100 frauds of fraud-2")
    assert "-0.0030…+0.0070" in told
    assert "+0.0020" in told
    assert "channel=online" in told
    assert "unseen card" not in told, "a segment without rows says nothing"
    assert "each on its own test rows" in told


@pytest.mark.usefixtures("pair")
def test_compare_of_runs_on_different_rows_says_so_first(fraudloop, wide):
    """And gives no difference: fraud-1's evaluation knows nothing of fraud-2."""
    told = fits(fraudloop("compare", "fraud-2", "fraud-1"), wide)
    assert told.startswith("Measured on DIFFERENT rows, so these figures do not say which is better:")
    assert "`--rescore` scores both on the rows of fraud-1" in told
    data = read(fraudloop("compare", "fraud-2", "fraud-1", "--json"))
    assert data["same_rows"] is False
    assert data["difference"] == {}


def test_runs_on_the_same_data_are_on_the_same_rows(system, fraudloop):
    """Equal data, parted equally."""
    for number in (1, 2):
        judged(system, number, evaluation(0.96, 0.40), dataset("aa", 100_000), "c0ffee")
    told = read(fraudloop("compare", "fraud-1", "fraud-2", "--json"))
    assert told["same_rows"] is True
    assert told["thresholds"] == [0.62, 0.62]
    assert {piece["same_rows"] for piece in told["segments"]} == {True}


def test_diff_names_data_code_parameters_and_metrics(pair, fraudloop, wide):
    """Only what differs; the host of a pod is nothing of it."""
    pair.intake.arrive([Object("fraudloop-data", "data/fraud/day-2.csv", etag="2", size=9, epoch=2)])
    told = read(fraudloop("diff", "fraud-1", "fraud-2", "--json"))
    assert told["data"]["rows"] == [100_000, 120_000]
    assert told["data"]["data_sha256"] == ["aa", "bb"]
    assert "test frauds" not in told["data"]
    assert told["code"] == {
        "preprocess code_version": ["c0ffee", "decade"],
        "preprocess image": ["stage:c0ffee", "stage:decade"],
    }
    assert told["parameters"] == {}
    assert told["metrics"]["auc_roc"] == [0.96, 0.962]
    shown = fits(fraudloop("diff", "fraud-1", "fraud-2"), wide)
    assert "parameters: the same" in shown
    assert "100,000 120,000" in shown or "fraud-1 100,000 fraud-2 120,000" in shown


def test_diff_lists_objects_that_came_and_went(system, fraudloop):
    """By their epochs: what joined after A's and up to B's, and what was set aside in between."""
    for number in (1, 2, 3):
        judged(system, number, evaluation(0.96, 0.40), dataset("aa", 100_000), "c0ffee")
    arrive(system, 1, "old")
    arrive(system, 2, "new")
    system.operations.quarantine("fraud", "data/fraud/old.csv", "ann", "labels")
    told = read(fraudloop("diff", "fraud-1", "fraud-3", "--json"))
    assert told["objects_added"] == ["data/fraud/new.csv"]
    assert told["objects_removed"] == ["data/fraud/old.csv"]
    back = read(fraudloop("diff", "fraud-3", "fraud-1", "--json"))
    assert (back["objects_added"], back["objects_removed"]) == (told["objects_removed"], told["objects_added"])


def arrive(system, epoch, name):
    """An object joins that epoch, which then closes."""
    from dataclasses import replace

    from statemachine.intake import _put_window

    system.intake.arrive([Object("fraudloop-data", f"data/fraud/{name}.csv", etag=name, size=9)])
    window = system.intake.window("fraud")
    assert window.epoch == epoch
    system.store.table.write(_put_window(replace(window, version=window.version + 1, epoch=epoch + 1, count=0), name))


@pytest.mark.usefixtures("pair")
def test_open_prints_where_the_report_is(fraudloop, monkeypatch):
    """The report as a file here; with --print nothing is opened."""
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    path = Path(fraudloop("open", "fraud-1", "--print").stdout.strip())
    assert path.read_text() == "<html>the report</html>"
    assert opened == []
    fraudloop("open", "fraud-1")
    assert len(opened) == 1


def test_open_leads_to_kfp_while_there_is_no_report(system, fraudloop, monkeypatch):
    """If the address of its pages is known; else it says which setting is missing."""
    played(system, path=[*HAPPY[:2], ("FAILED", 9, TransitionReason.FAILED, "x")], kfp_id="1234")
    assert "FRAUDLOOP_KFP_UI_URL" in fraudloop("open", "fraud-1", "--print").stderr
    monkeypatch.setenv("FRAUDLOOP_KFP_UI_URL", "https://kfp.example/")
    assert fraudloop("open", "fraud-1", "--print").stdout.strip() == "https://kfp.example/#/runs/details/1234"


def test_a_report_that_is_gone_is_said_to_be_gone(pair, fraudloop):
    """With what is still on record."""
    uri = pair.store.run("fraud-1").output(Stage.EVALUATE, "report_html")
    pair.client("s3").delete_object(Bucket="fraudloop-artifacts", Key=uri.removeprefix(f"{BUCKET}/"))
    assert "`fraudloop why fraud-1`" in fraudloop("open", "fraud-1", "--print").stderr
