"""How `make check-images` builds images and runs them: pods get what is deployed.

The images themselves are built and run by that command, which is a part of CI.
"""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from manifests import ROOT

sys.path.insert(0, str(ROOT / "deploy/tools"))

import check_images
import image_build
import image_pods
import image_sbom
import image_tasks
import image_trial

from training.pipelines.definitions import build
from training.pipelines.settings import read_settings

POD = yaml.safe_load((ROOT / "deploy/triton/base/deployment.yaml").read_text())["spec"]["template"]["spec"]


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """The pipelines, compiled into a folder that replaces the repository."""
    build(tmp_path / "build/pipelines", read_settings({}, ROOT))
    monkeypatch.setattr(image_tasks, "ROOT", tmp_path)


def test_every_dockerfile_is_built():
    """An image that is never built could be broken for months."""
    assert {image.name for image in image_build.IMAGES} == {
        file.name.removesuffix(".Dockerfile") for file in (ROOT / "docker").glob("*.Dockerfile")
    }
    for image in image_build.IMAGES:
        assert f"ARG {image.argument}=" in (ROOT / f"docker/{image.name}.Dockerfile").read_text()


@pytest.mark.parametrize("tool", sorted(image_build.TOOLS))
def test_a_missing_tool_is_named_with_its_package(monkeypatch, tool):
    """The reason, and what to install. Nothing unchecked is reported as checked."""
    monkeypatch.setattr(shutil, "which", lambda command: None if command == tool else f"/usr/bin/{command}")
    assert image_build.missing() == f"{tool} is not installed (Debian: apt-get install {tool})"


def test_a_user_without_root_and_disk_gets_both_reasons(monkeypatch, tmp_path):
    """mmdebstrap and the chroot need root; all layers together need some gigabytes."""
    monkeypatch.setattr(shutil, "which", lambda command: f"/usr/bin/{command}")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "root" in image_build.missing()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(image_build, "WORK", tmp_path)
    monkeypatch.setattr(image_build, "STORAGE", tmp_path / "storage")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**12, 3 * 10**9))
    assert "3 GB free, the images need 15" in image_build.missing()


def test_without_the_tools_the_imports_are_what_is_checked(monkeypatch, capsys):
    """The first line says that no image was built, and why."""
    ran = []
    monkeypatch.setattr(image_build, "missing", lambda: "buildah is not installed")
    monkeypatch.setattr(sys, "argv", ["check_images.py"])
    monkeypatch.setattr(subprocess, "run", lambda command, **_: ran.append(command[-1]))
    check_images.main()
    assert capsys.readouterr().out.startswith("SKIPPED: no image is built or run: buildah is not installed")
    assert ran == ["console", "operator", "stage", "triton"]


def test_the_machines_own_index_is_used_and_mounted_read_only(tmp_path):
    """An index in a folder is mounted with its neighbours, a constraint as a file. A URL is not a path."""
    for folder in ("wheels", "index/simple"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "constraints.txt").touch()
    settings = {
        "index-url": "https://index.example/simple",
        "extra-index-url": f"file://{tmp_path}/index/simple file:///not/there",
        "find-links": f"{tmp_path}/wheels",
        "constraint": f"{tmp_path}/constraints.txt",
    }
    assert list(image_build.mounts(settings)) == [
        "/etc/ssl/certs:/etc/ssl/certs:ro",
        *(f"{tmp_path}/{name}:{tmp_path}/{name}:ro" for name in ("constraints.txt", "index", "wheels")),
    ]
    assert "index-url = https://index.example/simple\n" in image_build.pip_file(settings)


def test_pips_settings_are_read_from_variables_and_files(monkeypatch):
    """A variable overrides a file, as in pip. `pip config list` lists both."""
    monkeypatch.setenv("PIP_FIND_LINKS", "/somewhere/wheels")
    assert image_build.pip_settings()["find-links"] == "/somewhere/wheels"


def test_a_pod_gets_what_its_manifest_says():
    """Triton's own container: numeric user, read-only root, no capability, limits, its variables and no others."""
    values = {"MODELS_URI": "s3://b/models/fraud", "MODEL_VERSION": "fraud-1-0123abcd"}
    volumes = {"/models": Path("/m"), "/tmp": Path("/t")}
    serve = image_trial._container(POD["containers"][0], "triton", POD, values, volumes).arguments()
    for argument in (
        "--user=1000:1000", "--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL",
        "--security-opt=no-new-privileges", f"--memory={4 << 30}b", f"--shm-size={512 << 20}b",
        "--volume=/m:/models:ro", "--volume=/t:/tmp:rw",
    ):  # fmt: skip
        assert argument in serve, argument
    variables = {argument.split("=")[1] for argument in serve if argument.startswith("--env=")}
    assert variables == {one["name"] for one in POD["containers"][0]["env"]}
    assert "--env=MODEL_VERSION=fraud-1-0123abcd" in serve
    assert serve[-len(POD["containers"][0]["args"]) :] == POD["containers"][0]["args"]


def test_the_init_container_fetches_the_version_that_the_pod_is_for():
    """Kubernetes replaces $(NAME) in a command by the variable's value."""
    values = {"MODELS_URI": "s3://b/models/fraud", "MODEL_VERSION": "fraud-1-0123abcd"}
    volumes = {"/models": Path("/m"), "/tmp": Path("/t")}
    fetch = image_trial._container(POD["initContainers"][0], "stage", POD, values, volumes).arguments()
    assert fetch[-2:] == ["s3://b/models/fraud/fraud-1-0123abcd", "/models"]


def test_a_stages_pod_runs_the_compiled_pipelines_own_command(compiled):
    """The executor's input replaces KFP's placeholder, every output has a path, and the limits are the pod's."""
    train = image_tasks.executors("fraudloop-train")["train"]
    command = image_tasks.command(train, {"run_id": "fraud-1"})
    assert "{{$}}" not in command
    task = json.loads(command[command.index("--executor_input") + 1])
    assert task["inputs"]["parameterValues"] == {"run_id": "fraud-1"}
    assert set(task["outputs"]["artifacts"]) == set(train["outputs"]["artifacts"]) >= {"trained"}
    settings = read_settings({}, ROOT)
    assert image_tasks.limits(train["container"])["memory"] == settings.step("train").memory_limit


def test_a_containers_command_takes_the_place_of_the_entrypoint():
    """As in a pod: `command` replaces ENTRYPOINT and CMD, `args` CMD alone
    (https://kubernetes.io/docs/tasks/inject-data-application/define-command-argument-container/).
    """
    both = image_pods.Container("a", "image:1", ["python3", "-c", "pass"], args=["x"]).arguments()
    assert both[-5:] == ["--entrypoint=python3", "image:1", "-c", "pass", "x"]
    args = image_pods.Container("a", "image:1", [], args=["tritonserver"]).arguments()
    assert args[-2:] == ["image:1", "tritonserver"]
    assert not [one for one in args if one.startswith("--entrypoint")]


@pytest.mark.parametrize(
    ("text", "number"), [("500m", 0.5), ("2", 2), ("1.5", 1.5), ("512Mi", 512 << 20), ("4Gi", 4 << 30)]
)
def test_quantities_are_kubernetes(text, number):
    """https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/"""
    assert image_pods.quantity(text) == number


def test_a_unit_that_is_not_read_is_refused():
    """`4G` is 4·10⁹ in Kubernetes; to read it as anything else would be another limit."""
    with pytest.raises(ValueError, match="'4G' is no quantity"):
        image_pods.quantity("4G")


def test_the_bill_of_materials_names_each_package_with_its_url(tmp_path):
    """CycloneDX 1.5: Python's and Debian's packages by package URL, none twice; when it was made, and of what."""
    done = subprocess.run(
        [sys.executable, "-c", image_sbom.ASK], capture_output=True, text=True, timeout=60, check=True
    )
    found = json.loads(done.stdout) | {"debian": {"libc6": ["2.36-9+deb12u10", "amd64"]}}
    record = image_sbom.bill("fraudloop-stage", "sha256:00", found, datetime(2026, 11, 27, tzinfo=UTC))
    urls = [component["purl"] for component in record["components"]]
    assert f"pkg:pypi/pytest@{pytest.__version__}" in urls
    assert "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64" in urls
    assert len(urls) == len(set(urls))
    assert (record["bomFormat"], record["specVersion"]) == ("CycloneDX", "1.5")
    assert record["metadata"]["timestamp"] == "2026-11-27T00:00:00Z"
    assert json.loads(image_sbom.dumps(record)) == record


@pytest.mark.parametrize(
    "name", ["docker/stage.Dockerfile", "docker/training.Dockerfile", "docker/triton.Dockerfile", "Makefile"]
)
def test_a_lock_with_hashes_is_split_as_well(tmp_path, name):
    """torch's pin alone, and everything but torch with its hashes, by the very commands of the file."""
    text = (ROOT / name).read_text()
    (tmp_path / "x.lock").write_text("a==1 \\\n    --hash=sha256:1\ntorch==2.13.0 \\\n    --hash=sha256:2\nz==3\n")
    one, rest = "grep -o '^torch==[^ ;]*'", "awk '/^[^ ]/ {rest = !/^torch==/} rest'"
    assert one in text
    assert rest in text

    def printed(command: str) -> str:
        done = subprocess.run(["bash", "-c", f"{command} x.lock"], cwd=tmp_path, capture_output=True, text=True)
        return done.stdout

    assert printed(one) == "torch==2.13.0\n"
    assert printed(rest) == "a==1 \\\n    --hash=sha256:1\nz==3\n"
