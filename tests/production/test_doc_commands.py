"""The commands that the pages show are run, in the order of the page, on a system with two runs."""

import re
import shlex
from pathlib import Path

import boto3
import pytest
from typer.testing import CliRunner

from cli.main import app as commands

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^( *)```console\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\s*\$ (?:\.venv/bin/)?fraudloop (.+?)(?:\s{2,}#.*|\s+# .*)?$", re.MULTILINE)
# `baseline import` needs a finished job with metrics, which moto's jobs lack; test_parity.py runs these two.
ELSEWHERE = ("baseline", "parity", "up", "down", "demo", "publish")


def commands_in(page):
    found = [shlex.split(each) for _, block in FENCE.findall(page.read_text()) for each in COMMAND.findall(block)]
    return [words for words in found if words[0] not in ELSEWHERE]


@pytest.mark.parametrize("page", ["README.md", "docs/onboarding.md", "docs/runbook.md", "docs/migration.md"])
def test_the_commands_of_a_page_run(page, system, ran, monkeypatch, tmp_path):
    """Each exits with status 0; `slo` may exit with 1 for a missed objective."""
    from statemachine.reporting.parity import Baseline, Measured

    monkeypatch.chdir(tmp_path)
    held = Baseline(Measured({}, 6000.0, "d", 1), {"arn": "arn:x"}, cost_dollars=2.0)
    Path("baseline.json").write_text(held.dumps())
    boto3.client("sagemaker").create_model(
        ModelName="fraud", ExecutionRoleArn="arn:aws:iam::123456789012:role/x", PrimaryContainer={"Image": "i"}
    )
    ran(1, metrics={"auc_roc": 0.97}, ended=3600)
    ran(6, metrics={"auc_roc": 0.97}, ended=7200)  # the onboarding page shows it
    commands_of_page = commands_in(ROOT / page)
    for name in ("good.csv", "bad.csv"):  # the onboarding page makes these two by other programs
        (tmp_path / name).write_bytes(b"x")
    for words in commands_of_page:
        words = [word.replace("/tmp/", f"{tmp_path}/") for word in words]
        result = CliRunner().invoke(commands, words)
        assert result.exit_code in ((0, 1) if words[0] == "slo" else (0,)), (
            f"{words}: {result.output}{result.exception!r}"
        )
    assert commands_of_page
