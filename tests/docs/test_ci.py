"""CI runs what the pages say that it runs, within its time; a run of the tests says what it left out."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from outcome import SLOW_FOLDERS, last_line

sys.path.insert(0, str(Path(__file__).parents[2] / "deploy/tools"))

import image_build

ROOT = Path(__file__).parents[2]
RUN = (ROOT / ".ci/run").read_text()
PARTS = re.findall(r'^part "([^"]+)" (\d+) (.+)$', RUN, re.MULTILINE)


def test_the_budgets_of_all_parts_stay_below_eighty_minutes():
    """CI ends a run after ninety; the comment's sum is the parts'."""
    budgets = [int(minutes) for _, minutes, _ in PARTS]
    assert len(PARTS) == sum(line.startswith("part ") for line in RUN.splitlines())
    assert sum(budgets) <= 80
    assert f"# {' + '.join(map(str, budgets))} = {sum(budgets)}" in RUN


def test_every_part_is_there_and_nothing_of_the_checks_is_left_out():
    """Lints, types and layers, the templates, the images, all tests, the site, the demo."""
    targets = [command.removeprefix("make ") for _, _, command in PARTS if command.startswith("make ")]
    ran = subprocess.run(["make", "-n", *targets], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert set(targets) >= {"check", "aws-tools", "lint-aws", "check-images", "test", "docs", "demo"}
    assert targets.index("check-images") < targets.index("clean-images")


def test_ci_installs_every_debian_package_that_a_skip_names():
    """A test may skip for want of a Debian package alone; CI has them all, so that nothing is skipped there."""
    named = set(image_build.TOOLS.values())
    for file in (ROOT / "tests").rglob("*.py"):
        named |= {
            word
            for found in re.findall(r"apt-get install ([a-z0-9. -]+)\)", file.read_text())
            for word in found.split()
        }
    assert named >= {"prometheus", "buildah"}
    assert named - set(re.findall(r"[a-z0-9.-]+", RUN)) == set()


def test_make_test_brings_the_tools_that_its_tests_need():
    """51 tests were skipped on a fresh machine, because nobody had run `make aws-tools`."""
    asked = subprocess.run(
        ["make", "-n", "--always-make", "test"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert asked.returncode == 0, asked.stderr
    for environment in (".venv-aws", ".venv-checkov", "deploy/schemas"):
        assert asked.stdout.index(environment) < asked.stdout.index("-m pytest"), environment


SKIPS = """
import pytest

@pytest.mark.skip(reason="promtool is not installed (apt-get install prometheus)")
def test_one(): pass

def test_two(): pytest.skip("no npm")

def test_three(): pass
"""


@pytest.mark.parametrize("processes", [(), ("-n", "2")])
def test_the_last_line_says_what_was_skipped_and_how_to_have_it(tmp_path, processes):
    """Also where several processes ran the tests: one line, after pytest's own."""
    for name in ("conftest.py", "outcome.py", "listening.py"):
        shutil.copy(ROOT / "tests" / name, tmp_path / name)
    (tmp_path / "test_skips.py").write_text(SKIPS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *processes, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.strip().splitlines()[-1]
    assert last == "2 skipped: 1 × no npm; 1 × promtool is not installed (apt-get install prometheus)"


def test_a_run_that_skipped_nothing_has_nothing_to_say():
    """No line at all."""
    assert last_line({}) == ""


def test_the_fast_tests_are_those_of_folders_that_start_nothing():
    """Every folder that is left out exists, and the state machine's own tests are not among them."""
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()}
    assert folders >= SLOW_FOLDERS
    assert not SLOW_FOLDERS & {"core", "statemachine", "handlers", "adapters", "cli"}


def test_pip_says_one_line_of_how_far_it_is(tmp_path):
    """Of pip's own lines only errors and warnings are left, and not those of an index that lacks a package."""
    pip = tmp_path / "python"
    pip.write_text(
        "#!/bin/sh\n"
        "echo \"WARNING: Location 'file:///x/simple/a/' is ignored: it is neither a file nor a directory.\"\n"
        "echo 'Collecting a==1'\necho '  Downloading a-1.whl (2.5 MB)'\necho 'Processing /x/b-1.whl'\n"
        "echo 'WARNING: b is yanked'\n"
    )
    pip.chmod(0o755)
    command = [sys.executable, str(ROOT / "requirements/install.py"), str(pip), "set-up", "2", "-r", "x"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0
    assert re.fullmatch(r"WARNING: b is yanked\nset-up: 2 of 2 packages, 2 MB downloaded, \d+ s\n", done.stdout), (
        done.stdout
    )


def test_an_install_that_fails_fails(tmp_path):
    """pip's status is not the filter's."""
    pip = tmp_path / "python"
    pip.write_text("#!/bin/sh\necho 'ERROR: no such package'\nexit 1\n")
    pip.chmod(0o755)
    command = [sys.executable, str(ROOT / "requirements/install.py"), str(pip), "set-up", "2", "-r", "x"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "ERROR: no such package" in done.stdout
