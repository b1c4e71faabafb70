"""The images contain what they need, and are built by good practice."""

import os
import re
import subprocess
import sys

import pytest
from manifests import ROOT, TOOLS

sys.path.insert(0, str(ROOT / "deploy/tools"))

from image_imports import entry_points
from lock_hashes import blocks

from training.serving.closure import closure
from training.shadow.server import ENVIRONMENT

DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))


@pytest.mark.parametrize("image", ["stage", "triton", "operator", "console"])
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


@pytest.mark.parametrize("image", ["stage", "training", "shadow", "operator", "console"])
def test_every_package_of_ours_that_an_entry_point_needs_is_copied(image):
    """Here they all lie side by side; in the image only what its Dockerfile copies."""
    ours = ("handlers", "statemachine", "training", "clients", "local", "cli", "monitoring")
    roots = entry_points("stage" if image in ("training", "shadow") else image)
    needed = {name.partition(".")[0] for name in closure(*roots, ours=ours)}
    copied = set(re.findall(r"^COPY (\w+) /app/\1$", (ROOT / f"docker/{image}.Dockerfile").read_text(), re.MULTILINE))
    assert needed <= copied
    assert "clients" in needed or image in ("operator", "console")


def test_the_serving_image_sets_what_every_server_of_ours_is_given():
    """The shadow stage and the local system measure what is served."""
    told = re.findall(r"^ENV (.+)$", (ROOT / "docker/triton.Dockerfile").read_text(), re.MULTILINE)
    set_there = dict(pair.split("=", 1) for line in told for pair in line.split())
    assert ENVIRONMENT.items() <= set_there.items()


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
    """hadolint reports nothing. Every ignore is beside its line."""
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
        *(f"!{package}/**" for package in ("cli", "clients", "local", "statemachine", "training")),
    }


LOCKS = sorted([*(ROOT / "requirements").glob("*.lock"), *(ROOT / "docker").glob("*.lock")])


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: f"{lock.parent.name}/{lock.stem}")
def test_every_pin_of_a_lock_carries_its_hashes(lock):
    """torch alone has none: its builds for CPU and CUDA are other files under one version."""
    found = dict(blocks(lock.read_text()))
    assert found
    bare = {name for name, block in found.items() if not re.search(r"--hash=sha256:[0-9a-f]{64}", block)}
    assert bare <= {"torch"}
    assert all(re.match(rf"{re.escape(name)}==\S+", block) for name, block in found.items())


def test_whatever_installs_a_lock_demands_the_hashes():
    """Makefile, deploy/aws.mk and the Dockerfiles: nothing installs `-r` without --require-hashes but torch's."""
    files = [ROOT / "Makefile", ROOT / "deploy/aws.mk", *DOCKERFILES]
    lines = [line for file in files for line in file.read_text().splitlines()]
    installs = [line for line in lines if re.search(r"(pip install|\$\(INSTALL\)) .* -r ", line)]
    assert len(installs) >= 8, installs
    assert [line for line in installs if "--require-hashes" not in line and "torch.lock" not in line] == []


def test_a_base_without_a_digest_is_not_pushed_and_digests_writes_it(tmp_path):
    """images.sh refuses a tag without digest. docker/digests adds the registry's digest, also a second time."""
    repository, _ = committed(tmp_path, {"docker/triton.Dockerfile": "ARG TRITON_IMAGE=r.io/t.s:1-py3\nFROM x\n"})
    refused = subprocess.run(["bash", "docker/images.sh", "r", "1"], cwd=repository, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "docker/digests" in refused.stderr
    assert "TRITON_IMAGE=r.io/t.s:1-py3" in refused.stderr
    for digit in "ab":
        registry = f'#!/bin/sh\n[ "$6" = r.io/t.s:1-py3 ] && echo sha256:{digit * 64}\n'
        (tmp_path / "docker").write_text(registry)
        (tmp_path / "docker").chmod(0o755)
        path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        subprocess.run(["bash", "docker/digests"], cwd=repository, env=path, check=True, capture_output=True)
        written = (repository / "docker/triton.Dockerfile").read_text()
        assert written == f"ARG TRITON_IMAGE=r.io/t.s:1-py3@sha256:{digit * 64}\nFROM x\n"
    (tmp_path / "docker").write_text("#!/bin/sh\necho an error page\n")
    failed = subprocess.run(["bash", "docker/digests"], cwd=repository, env=path, capture_output=True, text=True)
    assert failed.returncode == 1
    assert (repository / "docker/triton.Dockerfile").read_text() == written


def test_bases_are_pinned_by_digest():
    """All but Triton's, which could not be looked up here: docker/images.sh refuses to push until it is written."""
    bases = [line for file in DOCKERFILES for line in re.findall(r"^ARG \w*IMAGE=.+$", file.read_text(), re.MULTILINE)]
    assert len(bases) == 6
    unpinned = {line for line in bases if not re.search("@sha256:[0-9a-f]{64}$", line)}
    assert unpinned == {"ARG TRITON_IMAGE=nvcr.io/nvidia/tritonserver:25.08-py3"}


def committed(folder, files):
    """A repository with the scripts of docker/ and `files` in it, all committed."""
    repository = folder / "repository"
    scripts = {f"docker/{name}": (ROOT / "docker" / name).read_text() for name in ("images.sh", "digests")}
    for name, text in {**scripts, **files}.items():
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text(text)
    git = ["git", "-C", str(repository), "-c", "user.name=t", "-c", "user.email=t@t"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *command], check=True)
    return repository, git


def test_a_tree_with_changes_is_not_pushed(tmp_path):
    """docker/images.sh: a tag names a commit, so uncommitted changes have no image."""
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
