"""The command blocks of the pages are run, in the order of the page, on a system with two runs."""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import boto3
import pytest
from typer.testing import CliRunner

from cli.main import app as commands
from statemachine.contracts.report import Artifact
from statemachine.core.model import Release

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^ *```(?:console|bash)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"(?:\s{2,}|\s)#\s.*$")
# These pages' blocks are held by tests of their own; every other page with a block is run here.
OTHER_TESTS = {
    "docs/install.md": "tests/deploy/test_install_order.py",
    "docs/serving.md": "tests/serving/test_scoring_page.py",
}
# Commands that start servers, wait for a person or need what moto lacks, and the test that runs each.
ELSEWHERE = {
    "up": "tests/e2e/test_up_and_down.py",
    "down": "tests/e2e/test_up_and_down.py",
    "demo": "tests/e2e/test_demo.py",
    "reset": "tests/cli/test_system.py",
    "console": "tests/console/test_command.py",
    "baseline": "tests/production/test_parity.py",  # moto's training jobs have no metrics
    "parity": "tests/production/test_parity.py",
}
QUICK = {"train": {"epochs": 1, "head_rounds": 20, "hidden_dim": 8, "k": 8, "fan_out": 4}}
ROWS = "15000"  # instead of the pages' 50,000
PAGES = sorted(
    str(page.relative_to(ROOT))
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    if BLOCK.search(page.read_text()) and page.name not in ("CHANGELOG.md",)
)
VERSION = "fraud-1-aaaaaaaa"
MEASURED = {
    "format": 1,
    "rows": 4000,
    "frauds": 40,
    "threshold": 0.3,
    "metrics": {"auc_roc": 0.97, "average_precision": 0.5, "precision": 0.5, "recall": 0.5, "f1": 0.5},
    "slices": [{"name": "online", "rows": 900, "frauds": 30, "auc_roc": 0.9, "average_precision": 0.4}],
}


def lines(page: str) -> list[list[str]]:
    """The words of each command in the page's blocks; the prompt, a comment and a line's continuation are left out."""
    found = []
    for block in BLOCK.findall((ROOT / page).read_text()):
        whole = block.replace("\\\n", " ").splitlines()
        prompted = [line.strip().removeprefix("$ ") for line in whole if line.strip().startswith("$ ")]
        for line in prompted or [line.strip() for line in whole]:
            found += [shlex.split(part) for part in COMMENT.sub("", line).split(" && ") if part.strip()]
    return [words for words in found if words]


@pytest.fixture
def ready(system, ran, monkeypatch, tmp_path):
    """The champion came of `fraud-1`; `fraud-2` was measured beside it and waits for a person."""
    from statemachine.reporting.parity import Baseline, Measured

    monkeypatch.chdir(tmp_path)
    Path("tests").symlink_to(ROOT / "tests")
    held = Baseline(Measured({}, 6000.0, "d", 1), {"arn": "arn:x"}, cost_dollars=2.0)
    Path("baseline.json").write_text(held.dumps())
    Path("quick.json").write_text(json.dumps(QUICK))
    boto3.client("sagemaker").create_model(
        ModelName="fraud", ExecutionRoleArn="arn:aws:iam::123456789012:role/x", PrimaryContainer={"Image": "i"}
    )
    measured(system, ran(1, metrics={"auc_roc": 0.97}, ended=3600), MEASURED, candidate=VERSION)
    ran(7, ended=60)  # the run that onboarding interrupts
    release = Release(VERSION, "fraud-1", "s3://x", 1, 0.0)
    system.store.change_model("fraud", lambda model: replace(model, champion=release))
    difference = {"auc_roc": {"mean": 0.01, "low": -0.01, "high": 0.03}}
    beside = {"version": VERSION, "metrics": MEASURED["metrics"], "difference": difference}
    waits = ran(2, path=("QUEUED", "PREPROCESSING", "TRAINING", "EVALUATING", "AWAITING_APPROVAL"))
    measured(system, waits, MEASURED | {"champion": beside}, candidate="fraud-2-0000000a")


def measured(system, run, evaluation, **changes):
    """Give the run an evaluation and a report, as its stage would."""
    folder = f"s3://{system.settings.artifacts_bucket}/runs/{run.id}/evaluate"
    system.files.write(f"{folder}/evaluation.json", json.dumps(evaluation).encode())
    system.files.write(f"{folder}/report.html", b"<p>")
    made = {"evaluation": Artifact(f"{folder}/evaluation.json"), "report_html": Artifact(f"{folder}/report.html")}
    system.store.defer(run, run.due_at, "", outputs={**run.outputs, "evaluate": made}, **changes)


def fraudloop(words):
    """One command of ours, smaller: it ends with status 0, or with 1 where that is its answer."""
    words = words[1:]
    if words[0] in ELSEWHERE:
        return
    quick = ["--config", "quick.json"] if words[0] == "train" and "--help" not in words else []
    result = CliRunner().invoke(commands, [*words, *quick])
    # an objective is missed, these rows are not enough to train, TabFormer's label may not be missing as a payment's is
    answers_no = words[0] == "slo" or words[:2] in (["data", "check"], ["land", "--scores"])
    assert result.exit_code in ((0, 1) if answers_no else (0,)), f"{words}: {result.output}{result.exception!r}"


def program(words):
    """A module of ours or a shell tool, in the folder of the test."""
    small = [ROWS if before == "--rows" else word for before, word in zip(["", *words], words, strict=False)]
    command = [sys.executable if small[0] == "python" else small[0], *small[1:]]
    shell = " ".join(word if word in (">", "<", "|") else shlex.quote(word) for word in command)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", shell], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{words}: {done.stderr}"


def make(words):
    """The target is there; what it does is CI's."""
    done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{words}: {done.stderr}"


RUN = {"fraudloop": fraudloop, ".venv/bin/fraudloop": fraudloop, "make": make, "python": program, "cut": program}
RUN |= {"openssl": program}


@pytest.mark.parametrize("page", [page for page in PAGES if page not in OTHER_TESTS])
def test_the_commands_of_a_page_run_in_its_order(page, ready):
    """Each is run in a folder of its own, on an AWS stand-in with two runs; a program that nobody knows fails."""
    for words in lines(page):
        assert words[0] in RUN, f"{page} shows {words[0]!r}, which no test runs"
        RUN[words[0]](words)


@pytest.mark.parametrize("command", ELSEWHERE)
def test_what_is_left_out_here_is_run_by_the_test_that_is_named(command):
    """The file is there and speaks of it."""
    text = (ROOT / ELSEWHERE[command]).read_text()
    assert re.search(rf"\b{command}\b", text)


def test_the_pages_that_are_run_elsewhere_are_read_there():
    """A page with blocks is run here, or by the test that is named."""
    assert len(PAGES) >= 10
    for page, test in OTHER_TESTS.items():
        assert page in PAGES
        assert page.removeprefix("docs/") in (ROOT / test).read_text()
