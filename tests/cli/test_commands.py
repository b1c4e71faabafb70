import json
import re
import subprocess
import sys
from typing import Any

import pytest
from played_runs import HAPPY, played, read
from typer.main import get_command

from cli.main import app
from local.system import ROOT
from statemachine.core.reason import TransitionReason


def test_every_command_teaches(fraudloop):
    """`--help` of each command says what it does and names its options."""
    group: Any = get_command(app)
    names = sorted(group.commands)
    assert {"demo", "up", "down", "land", "start", "runs", "show", "watch", "publish", "night", "train"} <= set(names)
    for name in names:
        result = fraudloop(name, "--help")
        assert result.exit_code == 0
        assert len(result.output.split()) > 15, name


def test_help_loads_nothing_heavy():
    """The command line answers in a second: what a cluster's or a model's commands need is loaded by them."""
    heavy = ("kubernetes", "kfp", "kfp_server_api", "numpy", "torch", "polars", "tritonclient", "pandas", "moto")
    program = f"import sys, cli.main; print([name for name in {heavy} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ran.stdout.strip() == "[]", ran.stderr


def test_without_a_system_it_says_what_to_do(fraudloop, monkeypatch, tmp_path):
    """No deployment named and none running here: one sentence, status 1, no traceback."""
    monkeypatch.delenv("FRAUDLOOP_TABLE", raising=False)
    monkeypatch.setenv("FRAUDLOOP_HOME", str(tmp_path))
    result = fraudloop("runs")
    assert result.exit_code == 1
    assert "fraudloop up" in result.stderr
    assert "Traceback" not in result.output


def test_down_without_a_system_is_no_error(fraudloop, monkeypatch, tmp_path):
    """It may be repeated."""
    monkeypatch.setenv("FRAUDLOOP_HOME", str(tmp_path))
    assert fraudloop("down").exit_code == 0


@pytest.mark.usefixtures("succeeded")
def test_runs_lists_them_and_what_serves(fraudloop):
    """A table for people, records for programs."""
    shown = fraudloop("runs").stdout
    assert "fraud-1-aabbccdd serves" in shown
    assert re.search(r"fraud-1 +SUCCEEDED .* 0\.9710 +0\.4100 +fraud-1-aabbccdd", shown)
    (run,) = read(fraudloop("runs", "--json"))
    assert (run["id"], run["state"], run["metrics"]["auc_roc"]) == ("fraud-1", "SUCCEEDED", 0.971)


@pytest.mark.usefixtures("succeeded")
def test_show_explains_a_run(fraudloop):
    """What happened, how long it took, why, the metrics beside the gate, the objects, who is next, where to look."""
    shown = fraudloop("show", "fraud-1").stdout
    assert "fraud-1-aabbccdd was proven by requests to Triton and became the champion; it serves." in shown
    assert re.search(r"1 min 30 s +TRAINING +1 +stage succeeded", shown)
    assert re.search(r"auc_roc +0\.9710 +0\.9000 +✓", shown)
    assert re.search(r"Next Nobody: the next data, or the night, begin a new run", shown)
    assert "s3://fraudloop-artifacts/runs/fraud-1/manifest.json" in shown


@pytest.mark.usefixtures("succeeded")
def test_show_as_data(fraudloop):
    """The same as JSON, with the history as it is in the table."""
    told = read(fraudloop("show", "fraud-1", "--json"))
    assert [entry["dest"] for entry in told["history"]] == [state for state, *_ in HAPPY]
    assert told["run"]["candidate"] == "fraud-1-aabbccdd"
    assert told["links"]["files"].endswith("/runs/fraud-1/")


def test_an_unknown_run_is_said_to_be_unknown(system, fraudloop):
    """Status 1 and where to look."""
    result = fraudloop("show", "fraud-77")
    assert result.exit_code == 1
    assert "there is no run 'fraud-77'; `fraudloop runs` lists them" in result.stderr


def test_land_puts_files_under_the_models_prefix(system, fraudloop, tmp_path):
    """Where an arrival would be seen; the name is kept."""
    (tmp_path / "a day+1.csv").write_bytes(b"x")
    assert read(fraudloop("land", str(tmp_path / "a day+1.csv"), "--json")) == [
        "s3://fraudloop-data/data/fraud/a day+1.csv"
    ]
    assert [thing.key for thing in system.files.list("fraudloop-data", "data/fraud/")] == ["data/fraud/a day+1.csv"]
    assert fraudloop("land", str(tmp_path / "a day+1.csv"), "--model", "fruad").exit_code == 1


def test_start_takes_in_a_manifest(system, fraudloop, tmp_path):
    """Its objects join the window, then it closes into a run."""
    manifest = tmp_path / "manifest.json"
    objects = [{"bucket": "fraudloop-data", "key": f"data/fraud/{n}.csv", "etag": n, "size": 9} for n in "ab"]
    manifest.write_text(json.dumps({"objects": objects}))
    told = read(fraudloop("start", "fraud", "--manifest", str(manifest), "--why", "a backfill", "--json"))
    assert told == {"run_id": "fraud-1"}
    run = system.store.run("fraud-1")
    assert run.trigger.kind == "person"
    assert run.trigger.by.startswith("arn:aws:")
    assert run.trigger.why == "a backfill"
    assert {thing.key for thing in system.intake.objects("fraud")} == {"data/fraud/a.csv", "data/fraud/b.csv"}


def test_start_takes_in_what_just_landed(system, fraudloop, tmp_path):
    """`land && start` must not race the object's event."""
    (tmp_path / "day.csv").write_bytes(b"x")
    assert fraudloop("land", str(tmp_path / "day.csv")).exit_code == 0
    assert read(fraudloop("start", "fraud", "--json")) == {"run_id": "fraud-1"}
    assert [thing.key for thing in system.intake.objects("fraud")] == ["data/fraud/day.csv"]


def test_a_manifest_that_cannot_be_read_is_said_to_be_so(system, fraudloop, tmp_path):
    """With its name and what is wrong."""
    manifest = tmp_path / "manifest.json"
    manifest.write_text('{"objects": [{"bucket": "x"}]}')
    result = fraudloop("start", "fraud", "--manifest", str(manifest))
    assert result.exit_code == 1
    assert "manifest.json cannot be read: KeyError: 'key'" in result.stderr


def test_start_behind_another_run_says_whom_it_waits_for(system, fraudloop):
    """One training at a time: the wish is on record, and the window closes later."""
    played(system, path=HAPPY[:3])
    result = fraudloop("start", "fraud")
    assert result.exit_code == 0
    assert "fraud-1 trains fraud: the new run begins after it" in result.stdout


@pytest.mark.usefixtures("succeeded")
def test_watch_of_a_run_at_rest_ends_at_once(fraudloop):
    """Status 0, since it succeeded; with --json one line a step."""
    result = fraudloop("watch", "fraud-1", "--json")
    assert result.exit_code == 0
    assert [json.loads(line)["dest"] for line in result.stdout.splitlines()] == [state for state, *_ in HAPPY]


def test_watch_of_a_run_that_did_not_succeed_has_status_1(system, fraudloop):
    """So that a script can wait for a run."""
    played(system, path=[*HAPPY[:2], ("REJECTED", 9, TransitionReason.REFUSED_DATA, "nothing new was accepted")])
    result = fraudloop("watch", "fraud-1")
    assert result.exit_code == 1
    assert "Nothing was released: nothing new was accepted. Nothing serves yet." in result.stdout
