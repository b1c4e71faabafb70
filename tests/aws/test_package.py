"""A function's folder holds what it imports, and nothing else."""

import json
import subprocess
import sys

import pytest
from deployment import FUNCTIONS, ROOT

from training.pipelines.definitions import content_hash

sys.path.insert(0, str(ROOT / "deploy/tools"))

import lambda_package
from distributions import distributions, foreign

from training.serving.closure import closure, imports


@pytest.fixture(scope="module")
def step(tmp_path_factory):
    folder = tmp_path_factory.mktemp("step")
    names = lambda_package.package("handlers.step", folder)
    return folder, names


def test_each_handler_takes_its_own_module_and_no_other_handler():
    """The closure follows imports, also those inside of functions."""
    for name in FUNCTIONS:
        files = {
            path.relative_to(ROOT).as_posix() for path in closure(f"handlers.{name}", ours=lambda_package.OURS).values()
        }
        assert f"handlers/{name}.py" in files
        assert not {f"handlers/{other}.py" for other in FUNCTIONS if other != name} & files
        assert "statemachine/adapters/kfp.py" in files, "imported inside of a function"


def test_no_lambda_carries_what_belongs_to_training():
    """Neither torch nor kfp nor kubernetes, by any path. The runtime provides boto3."""
    for name in FUNCTIONS:
        files = closure(f"handlers.{name}", ours=lambda_package.OURS).values()
        shipped = distributions(foreign(files, lambda_package.OURS), lambda_package.BROUGHT)
        assert not shipped & {
            "kfp",
            "kubernetes",
            "torch",
            "numpy",
            "pandas",
            "polars",
            "pydantic",
            "boto3",
            "botocore",
        }


def test_the_package_is_under_the_bar_and_brings_its_settings(step):
    """< 30 MB unzipped, with the model registry and the compiled pipelines with their hashes."""
    folder, names = step
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    assert size < 30_000_000
    assert {"fraudloop.toml", "definitions.json"} <= {file.name for file in folder.iterdir()}
    hashes = json.loads((folder / "definitions.json").read_text())
    assert hashes == {file.stem: content_hash(file.read_bytes()) for file in (folder / "pipelines").glob("*.yaml")}
    assert "kfp-server-api" in names


def test_the_ca_of_a_private_kfp_goes_along_if_it_is_there(tmp_path, monkeypatch):
    """`kfp-ca.pem` beside fraudloop.toml; KfpCa names it, relative to the package."""
    monkeypatch.setattr(lambda_package, "CA", tmp_path / "kfp-ca.pem")
    monkeypatch.setattr(lambda_package, "compile_for_runtime", lambda destination: None)
    for there in (False, True):
        if there:
            (tmp_path / "kfp-ca.pem").write_text("a certificate")
        lambda_package.package("handlers.tick", tmp_path / str(there))
        assert (tmp_path / str(there) / "kfp-ca.pem").exists() is there


def test_the_package_runs_on_any_architecture(step):
    """The functions are arm64, this machine may be x86: no compiled file may be in it."""
    folder, _ = step
    assert not [file for file in folder.rglob("*") if file.suffix in (".so", ".pyd")]


def test_a_relative_import_is_refused(tmp_path):
    """It would be followed wrongly, and a module would be missing on Lambda."""
    module = tmp_path / "m.py"
    module.write_text("from . import other\n")
    with pytest.raises(ValueError, match="relative import"):
        list(imports(module))


def test_a_missing_definitions_file_says_what_to_do(tmp_path, monkeypatch):
    """`sam build` before `make build`."""
    monkeypatch.setattr(lambda_package, "FILES", (ROOT / "build/pipelines/absent.json",))
    with pytest.raises(SystemExit, match="make build"):
        lambda_package.package("handlers.tick", tmp_path)


def test_the_images_locks_are_what_their_code_imports():
    """docker/*.lock are generated; a new import needs a new lock."""
    tool = [sys.executable, str(ROOT / "deploy/tools/image_locks.py"), "--check"]
    done = subprocess.run(tool, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
