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


def test_the_tests_that_the_pages_name_are_there():
    """Files of tests, and tests by their names: a page that gives one as its proof must not be old."""
    pages = {page: page.read_text() for page in [*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md"]}
    code = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    named = {(page.name, name) for page, text in pages.items() for name in re.findall(r"`(test_\w{12,})`", text)}
    paths = {(page.name, name) for page, text in pages.items() for name in re.findall(r"`(tests/[\w/.]+)`", text)}
    assert len(named) > 20
    assert len(paths) > 20
    assert [one for one in sorted(named) if f"def {one[1]}" not in code and f"class {one[1]}" not in code] == []
    assert [one for one in sorted(paths) if not (ROOT / one[1].rstrip(".")).exists()] == []


def test_each_decision_has_a_number_of_its_own_and_is_listed():
    """Two pages once were number 8; the index names every page by its number and title."""
    pages = {page.name: page.read_text() for page in (DOCS / "decisions").glob("[0-9]*.md")}
    numbers = [name[:4] for name in pages]
    assert len(numbers) == len(set(numbers))
    index = (DOCS / "decisions/index.md").read_text()
    listed = re.findall(r"^\| (\d+) \| \[[^\]]+\]\(([^)]+)\)", index, re.MULTILINE)
    assert {name: int(name[:4]) for name in pages} == {name: int(number) for number, name in listed}
    for name, text in pages.items():
        assert text.startswith(f"# {int(name[:4])}. "), name
        assert all(f"**{part}" in text for part in ("Context", "Choice")), name
        assert re.search(r"\*\*(What it costs?|Cost)", text), name


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
