"""The images: what is in them suffices, and they are built as one should."""

import re
import subprocess
import sys

import pytest
from manifests import ROOT, TOOLS

DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))


@pytest.mark.parametrize("image", ["stage", "triton", "operator"])
def test_every_entry_point_imports_with_nothing_but_the_images_lock(image):
    """In .venv, with everything else hidden; `make check-images` asks the images themselves."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "deploy/tools/image_imports.py"), image],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("imported") >= 1


def test_a_package_that_the_lock_lacks_is_noticed(tmp_path):
    """The hiding works: a lock without torch does not pass."""
    code = (
        "import sys; sys.path.insert(0, 'deploy/tools'); import image_imports as i; "
        "i.Hidden({'numpy'}).install(); import torch"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode != 0
    assert "No module named 'torch'" in done.stderr


def test_hadolint_has_nothing_to_say():
    """Every ignore stands beside its line."""
    if not (TOOLS / "hadolint").exists():
        pytest.skip("no .venv-aws: `make aws-tools` installs hadolint")
    done = subprocess.run([str(TOOLS / "hadolint"), *map(str, DOCKERFILES)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.stem)
def test_the_last_stage_is_without_root_and_without_tools(file):
    """A numeric user, as the pods' runAsNonRoot needs; no pip, no compiler; labels; a base pinned by tag."""
    text = file.read_text()
    last = text.rsplit("\nFROM ", 1)[1]
    assert re.findall(r"^USER (.+)$", last, re.MULTILINE)[-1] == "1000:1000"
    assert not re.search(r"build-essential|gcc|g\+\+", last)
    assert "org.opencontainers.image.revision" in last
    for argument in re.findall(r"^ARG \w*IMAGE=(.+)$", text, re.MULTILINE):
        assert ":" in argument
        assert not argument.endswith(":latest")


def test_dependabot_sees_every_base_that_an_image_has_by_default():
    """It changes FROM lines only, so docker/bases/Dockerfile repeats the ARGs' defaults, and a digest is the same."""
    bases = re.findall(r"^FROM (\S+) AS ", (ROOT / "docker/bases/Dockerfile").read_text(), re.MULTILINE)
    used = {base for file in DOCKERFILES for base in re.findall(r"^ARG \w*IMAGE=(.+)$", file.read_text(), re.MULTILINE)}
    assert {base.partition("@")[0] for base in bases} == {base.partition("@")[0] for base in used}
    assert all(base in used for base in bases if "@" in base)


def test_the_build_context_holds_code_and_locks_only():
    """No secrets, no data, no environment: .dockerignore names what goes in."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    assert {line for line in lines if line.startswith("!")} == {
        "!docker/*.lock",
        "!fraudloop.toml",
        "!pipelines.toml",
        *(f"!{package}/**" for package in ("cli", "local", "statemachine", "training")),
    }


def test_a_tree_with_changes_is_not_pushed(tmp_path):
    """docker/images.sh: a tag names a commit, so what is not committed has no image."""
    repository = tmp_path / "r"
    (repository / "docker").mkdir(parents=True)
    (repository / "training").mkdir()
    (repository / "docker/images.sh").write_text((ROOT / "docker/images.sh").read_text())
    git = ["git", "-C", str(repository), "-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "x"], check=True)
    (repository / "training/new.py").write_text("")
    done = subprocess.run(["bash", "docker/images.sh", "r", "0.1.0"], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 1
    assert "not committed" in done.stderr
