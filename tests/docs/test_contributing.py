"""What a contributor reads and what runs for them: commands exist, checks are the same, notes are the changelog's."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "deploy/tools"))
GITHUB = ROOT / ".github"
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
CHANGELOG = (
    "# Changelog\n\n## [Unreleased]\n\n- more\n\n## [0.2.0] - 2026-12-01\n\n### Added\n\n- a thing\n\n## [0.1.0]\n\n"
)


def test_the_commands_in_contributing_exist():
    """`make -n` knows each target that the page names."""
    named = {word for found in re.findall(r"`?make ([a-z- ]+)", PAGE) for word in found.split()}
    targets = sorted(named & set(re.findall(r"^([a-z-]+):", _makefiles(), re.MULTILINE)))
    assert {"check", "test", "test-fast", "coverage", "check-images", "mutants"} <= set(targets)
    assert set(re.findall(r"`make ([a-z-]+)`", PAGE)) <= set(targets)
    ran = subprocess.run(["make", "-n", *targets], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr


def test_the_files_that_contributing_names_are_there():
    """A page that sends people to a file that was moved is worse than none."""
    named = re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py|[a-z]+\.toml)`", PAGE)
    assert len(named) >= 8
    assert [name for name in named if not (ROOT / name).exists()] == []
    folders = re.findall(r"`((?:[a-z_]+/)+)`", PAGE)
    assert [name for name in folders if not (ROOT / name).is_dir()] == []


def test_the_names_that_contributing_gives_are_in_the_code():
    """`Name` in `file.py` is in that file; any other capital name is a class that a search finds."""
    placed = re.findall(r"`([A-Za-z]+)` in\s+`([\w/]+\.py)`", PAGE)
    assert len(placed) >= 3
    for name, file in placed:
        assert re.search(rf"^(class {name}\b|{name}\b.*=)", (ROOT / file).read_text(), re.MULTILINE), (name, file)
    code = "\n".join(path.read_text() for top in ("statemachine", "training") for path in (ROOT / top).rglob("*.py"))
    for name in re.findall(r"`([A-Z][a-z]\w+)`", PAGE):
        assert re.search(rf"^class {name}\b", code, re.MULTILINE), name


def test_make_check_types_every_folder_of_code():
    """A folder that mypy does not read would be typed in name only."""
    tracked = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, timeout=60).stdout
    files = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["files"]
    left_out = {name for name in tracked.split() if not name.startswith(tuple(f"{folder}/" for folder in files))}
    assert left_out <= {"docs/build_hook.py"}  # mkdocs loads it, under a name of its own


def test_the_debian_packages_that_contributing_names_are_those_of_ci():
    """Who installs them skips no test, as CI skips none."""
    named = {word for found in re.findall(r"apt-get install ([a-z0-9. -]+)`", PAGE) for word in found.split()}
    wanted = {
        word for found in re.findall(r'wanted\+?="([^"]+)"', (ROOT / ".ci/run").read_text()) for word in found.split()
    }
    assert named == wanted


def test_every_make_target_says_what_it_does():
    """`##` behind a target is its help; the phony ones are the commands."""
    phony = {word for line in re.findall(r"^\.PHONY: (.+)$", _makefiles(), re.MULTILINE) for word in line.split()}
    told = set(re.findall(r"^([a-z-]+):.*?## \w", _makefiles(), re.MULTILINE))
    assert phony - told == set()


def test_the_hooks_fetch_nothing_and_run_what_ci_runs():
    """Local hooks only, by the tools in .venv; one of them is `make check` itself."""
    assert {repository["repo"] for repository in HOOKS} == {"local"}
    hooks = [hook for repository in HOOKS for hook in repository["hooks"]]
    assert {hook["language"] for hook in hooks} == {"system"}
    assert "make check" in {hook["entry"] for hook in hooks}
    assert 'part "check" 4 make check' in (ROOT / ".ci/run").read_text()


@pytest.mark.parametrize(("length", "status"), [(1, 0), (72, 0), (73, 1)])
def test_a_long_subject_is_refused(tmp_path, length, status):
    """72 characters, counted as characters."""
    [hook] = [hook for hook in HOOKS[0]["hooks"] if hook["id"] == "subject"]
    (tmp_path / "message").write_text("ä" * length + "\n\nAnd as long as you like below.\n")
    command = f"{hook['entry']} {tmp_path}/message"
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    assert subprocess.run(["sh", "-c", command], env=environment, capture_output=True).returncode == status


def test_a_pull_request_is_checked_by_what_lands():
    """One workflow runs .ci/run on each pull request, with no right but to read."""
    workflow = yaml.safe_load((GITHUB / "workflows/ci.yml").read_text())
    assert "pull_request" in workflow[True]  # YAML 1.1 reads `on` as true
    [job] = workflow["jobs"].values()
    assert job["permissions"] == {"contents": "read"}
    assert any("bash .ci/run" in step.get("run", "") for step in job["steps"])


def test_releases_notes_are_the_changelogs_section():
    """Without its heading and without its neighbours."""
    from release_notes import notes

    assert notes("v0.2.0", CHANGELOG, "0.2.0") == "### Added\n\n- a thing\n"


@pytest.mark.parametrize(
    ("tag", "version", "why"),
    [
        ("v0.3.0", "0.2.0", "pyproject.toml says 0.2.0"),
        ("0.2.0", "0.2.0", "tag v0.2.0"),
        ("v0.4.0", "0.4.0", "no section 0.4.0"),
        ("v0.1.0", "0.1.0", "no section 0.1.0"),  # it is there, and empty
    ],
)
def test_no_release_without_notes_of_that_version(tag, version, why):
    """The release fails and says what to do."""
    from release_notes import notes

    with pytest.raises(SystemExit, match=re.escape(why)):
        notes(tag, CHANGELOG, version)


@pytest.mark.parametrize("file", sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda file: file.stem)
def test_issue_forms_are_what_github_reads(file):
    """https://docs.github.com/communities: name, description and a body of inputs with labels; ids are unique."""
    form = yaml.safe_load(file.read_text())
    if file.stem == "config":
        assert form == {"blank_issues_enabled": True}
        return
    assert form["name"]
    assert form["description"]
    assert {part["type"] for part in form["body"]} <= {"textarea", "input", "dropdown", "checkboxes", "markdown"}
    assert all(part["attributes"]["label"] for part in form["body"])
    ids = [part["id"] for part in form["body"]]
    assert len(ids) == len(set(ids))


def test_dependabot_and_the_owners_point_at_what_is_there():
    """A folder that was moved would silently be watched by nobody."""
    for update in yaml.safe_load((GITHUB / "dependabot.yml").read_text())["updates"]:
        assert (ROOT / update["directory"].lstrip("/")).is_dir(), update
    for line in (GITHUB / "CODEOWNERS").read_text().splitlines():
        if line.startswith("/"):
            assert (ROOT / line.split()[0].strip("/")).exists(), line


def _makefiles() -> str:
    return (ROOT / "Makefile").read_text() + (ROOT / "deploy/aws.mk").read_text()
