"""What docs/install.md tells people to type is there: folders, files, and the parameters of the templates."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/install.md").read_text()
BLOCKS = re.findall(r"^```bash\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
LINES = [line.split("  #")[0].strip() for block in BLOCKS for line in block.replace("\\\n", " ").splitlines()]
COMMANDS = [part for line in LINES for part in line.split(" && ")]


def template(path):
    """A template's parameters; CloudFormation's short forms are passed over."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("!", lambda loader, suffix, node: None)
    return yaml.load((ROOT / path).read_text(), Loader)["Parameters"]


def test_every_folder_that_is_applied_is_there():
    """`kubectl apply -k` in blocks and in prose."""
    folders = set(re.findall(r"-k (deploy/[\w/-]+)", TEXT))
    assert len(folders) >= 8
    assert [folder for folder in folders if not (ROOT / folder / "kustomization.yaml").is_file()] == []


@pytest.mark.parametrize("command", [c for c in COMMANDS if "sam deploy" in c])
def test_a_stack_is_deployed_from_a_file_that_is_there_with_parameters_that_it_has(command):
    """Every parameter without a default is named, too."""
    words = shlex.split(command)
    if "--template-file" not in words:
        assert "--config-env" in words
        return
    path = words[words.index("--template-file") + 1]
    declared = template(path) if "Parameters:" in (ROOT / path).read_text() else {}
    given = {word.split("=")[0] for word in words if re.match(r"[A-Z]\w+=", word)}
    assert given <= set(declared)
    assert {name for name, parameter in declared.items() if "Default" not in parameter} <= given


def test_the_programs_are_there():
    """make's targets, scripts of ours, and tools that make aws-tools installs."""
    targets = [shlex.split(c)[1] for c in COMMANDS if c.startswith("make ")]
    ran = subprocess.run(["make", "-n", *targets], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert {"test", "aws-tools", "check-aws", "sam-build", "build"} <= set(targets)
    scripts = [shlex.split(c)[0] for c in COMMANDS if c.startswith("docker/")]
    assert scripts
    assert all((ROOT / script).stat().st_mode & 0o100 for script in scripts)


def test_every_step_has_its_check():
    """Each step says how to see that it worked, and how to take it back."""
    steps = re.split(r"^## ", TEXT, flags=re.MULTILINE)
    numbered = {step.splitlines()[0]: step for step in steps if re.match(r"\d", step)}
    assert len(numbered) == 8
    assert [title for title, step in numbered.items() if "Check:" not in step] == []
    assert [title for title, step in numbered.items() if "Undo:" not in step] == []
