"""The lints of `make lint-aws` pass, and fail when the template is broken on purpose."""

import shutil
import subprocess

import pytest
from deployment import ROOT, TOOLS

CHECKOV = ROOT / ".venv-checkov/bin/checkov"
BROKEN = [
    pytest.param(
        [TOOLS / "cfn-lint", "deploy/aws/roles.yaml"],
        "deploy/aws/roles.yaml", "!GetAtt TritonRole.Arn", "!GetAtt TritonRoll.Arn",
        id="cfn-lint: a reference to nothing",
    ),
    pytest.param(
        [TOOLS / "hadolint", "docker/stage.Dockerfile"],
        "docker/stage.Dockerfile", "FROM ${PYTHON_IMAGE} AS build", "FROM python:latest AS build",
        id="hadolint: a base that moves",
    ),
    pytest.param(
        [TOOLS / "zizmor", "--offline", "--quiet", ".github/workflows"],
        ".github/workflows/deploy.yml", "@08c6903cd8c0fde910a37f88322edcfb5dd907a8", "@main",
        id="zizmor: an action that moves",
    ),
    pytest.param(
        [CHECKOV, "--config-file", "deploy/checkov.yaml"],
        "template.yaml", "BlockPublicAcls: true", "BlockPublicAcls: false",
        id="checkov: a public bucket",
    ),
    pytest.param(
        [CHECKOV, "--config-file", "deploy/checkov.yaml"],
        "deploy/slo/cron-job.yaml", "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true",
        id="checkov: a pod that may rise",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("command", "file", "old", "new"), BROKEN)
def test_a_lint_is_silent_until_something_is_broken(tmp_path, command, file, old, new):
    """Status 0 for a copy as it is, and not for one with a single change."""
    if not command[0].exists():
        pytest.skip(f"no {command[0].name}: `make aws-tools` installs it")
    for part in {file, *(("deploy/checkov.yaml",) if command[0] == CHECKOV else ())}:
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / part, tmp_path / part)
    whole = linted(command, tmp_path)
    assert whole.returncode == 0, whole.stdout + whole.stderr
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new, 1))
    broken = linted(command, tmp_path)
    assert broken.returncode != 0, broken.stdout


def linted(command, folder):
    return subprocess.run([*map(str, command)], cwd=folder, capture_output=True, text=True, timeout=200)
