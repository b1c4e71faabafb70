"""The documents that can fail: the site builds strictly, commands in it exist, each alarm has its heading."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cli import reference
from statemachine.contracts.metrics import CATALOGUE
from training.model.config import TrainConfig

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.glob("*.md")), ROOT / "README.md"]
FENCE = re.compile(r"^( *)```console\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
PROMPT = re.compile(r"^\s*\$ (.+?)(?:\s{2,}#.*|\s+# .*)?$", re.MULTILINE)
INLINE = re.compile(r"`(fraudloop [^`]+)`")
SCRIPT = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)


def shown(page):
    """The commands in a page's console blocks."""
    return [command for _, block in FENCE.findall(page.read_text()) for command in PROMPT.findall(block)]


def mentioned(page):
    """The commands in a page's prose."""
    return [re.sub(r"\s+…|…", "", command) for command in INLINE.findall(page.read_text())]


def scripted(page):
    """The commands of ours in a page's shell scripts."""
    return [
        command.strip()
        for block in SCRIPT.findall(page.read_text())
        for command in re.findall(r"(?:^|&& )((?:fraudloop|make) [^#&\n]+)", block, re.MULTILINE)
    ]


COMMANDS = sorted(
    {(page.name, command) for page in PAGES for command in shown(page) + mentioned(page) + scripted(page)}
)
FRAUDLOOP = [(page, command) for page, command in COMMANDS if re.match(r"(\.venv/bin/)?fraudloop ", command)]
MAKE = sorted({command for _, command in COMMANDS if command.startswith("make ")})


@pytest.fixture(scope="module")
def tree():
    """All commands."""
    return reference.whole()


@pytest.mark.parametrize(("page", "command"), FRAUDLOOP, ids=[f"{page}: {command}" for page, command in FRAUDLOOP])
def test_a_command_in_a_page_exists_with_these_options(tree, page, command):
    """The subcommand is there, and it knows every option that the page shows."""
    words = shlex.split(command)[1:]
    if words[0] == "--help":
        return
    found = tree
    while hasattr(found, "commands") and words and not words[0].startswith("-"):
        assert words[0] in found.commands, f"fraudloop has no command {words[0]!r}"
        found = found.commands[words.pop(0)]
    options = {option for parameter in found.params for option in parameter.opts} | {"--help"}
    assert {word.split("=")[0] for word in words if word.startswith("--")} <= options


def test_the_make_targets_in_the_pages_exist():
    """`make -n` knows each of them."""
    targets = sorted({shlex.split(command)[1] for command in MAKE})
    ran = subprocess.run(["make", "-n", *targets], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert {"demo", "test"} <= set(targets)
    assert ran.returncode == 0, ran.stderr


def alarms():
    """Prometheus' alerts and CloudWatch's alarms."""
    rules = yaml.safe_load((ROOT / "monitoring/rules/alerts.yml").read_text())["groups"]
    alerts = [rule["alert"] for group in rules for rule in group["rules"]]
    template = (ROOT / "template.yaml").read_text()
    return alerts + re.findall(r"^  (\w+Alarm):\n    Type: AWS::CloudWatch::Alarm", template, re.MULTILINE)


@pytest.mark.parametrize("alarm", alarms())
def test_each_alarm_has_its_heading_with_all_four_answers(alarm):
    """What it means, where to look, what to do, how to undo."""
    parts = re.split(r"^### ", (DOCS / "runbook.md").read_text(), flags=re.MULTILINE)
    [part] = [part for part in parts if part.startswith(f"{alarm}\n")]
    assert all(f"**{answer}:**" in part for answer in ("Means", "Look", "Do", "Undo"))


def test_the_runbook_speaks_of_no_alarm_that_is_not_there():
    """A heading that no alarm leads to is old."""
    headings = re.findall(r"^### (\w+)$", (DOCS / "runbook.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(alarms())


def test_the_reference_pages_hold_everything(tree):
    """Every command, every setting of a training, every metric."""
    pages = reference.pages()
    assert all(f"## fraudloop {name}\n" in pages["reference/cli.md"] for name in tree.commands)
    assert all(f"| `{name}` |" in pages["reference/parameters.md"] for name in TrainConfig().as_dict())
    assert all(f"| `{line.name}` |" in pages["reference/metrics.md"] for line in CATALOGUE)


def test_the_site_builds_strictly(tmp_path):
    """No broken link or anchor; the generated pages are in it."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (tmp_path / "reference/cli/index.html").is_file()
    assert "fonts.googleapis.com" not in (tmp_path / "index.html").read_text()
