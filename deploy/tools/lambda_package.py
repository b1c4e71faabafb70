"""Packages one Lambda's code, with only what it imports. `sam build` calls it for each function.

    .venv/bin/python deploy/tools/lambda_package.py handlers.step DESTINATION

Third-party distributions are copied from this environment, so the shipped bytes are the tested bytes. They must be pure
Python, because the Lambda may run on another architecture. The runtime provides boto3 and its dependencies.
"""

import shutil
import subprocess
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path

from distributions import distributions, foreign

from training.serving.closure import ROOT, closure

OURS = ("handlers", "statemachine")
RUNTIME = "python3.12"  # template.yaml says the same; a test compares both
# Distributions of the runtime (its documentation lists boto3 and, through it, these): never packaged.
BROUGHT = frozenset({"boto3", "botocore", "s3transfer", "jmespath", "python-dateutil", "six", "urllib3"})
FILES = (ROOT / "fraudloop.toml", ROOT / "build/pipelines/definitions.json")
CA = ROOT / "kfp-ca.pem"  # for a KFP with a private certificate: KfpCa in template.yaml names it
PIPELINES = ROOT / "build/pipelines"  # so that one can see what a run started with
BYTE_CODE = ("-q", "--invalidation-mode", "unchecked-hash")


def package(handler: str, destination: Path) -> list[str]:
    """Copy `handler`'s modules, distributions and settings. Returns the distributions' names."""
    modules = sorted(closure(handler, ours=OURS).values())
    for module in modules:
        _copy(module, destination / module.relative_to(ROOT))
    names = sorted(distributions(foreign(modules, OURS), BROUGHT))
    for name in names:
        _copy_distribution(distribution(name), destination)
    for file in FILES:
        if not file.exists():
            raise SystemExit(f"{file.relative_to(ROOT)} is missing: run `make build` first")
        _copy(file, destination / file.name)
    if CA.exists():
        _copy(CA, destination / CA.name)
    for compiled in sorted(PIPELINES.glob("*.yaml")):
        _copy(compiled, destination / "pipelines" / compiled.name)
    compile_for_runtime(destination)
    return names


def compile_for_runtime(destination: Path) -> None:
    """Byte-compile for the runtime, if its interpreter is installed.

    /var/task is read-only, so Lambda would otherwise compile everything at every cold start.
    """
    interpreter = runtime_interpreter()
    if interpreter is None:
        print(f"no {RUNTIME} here: shipped without byte code (a slower cold start)", file=sys.stderr)
        return
    where = ("-s", str(destination), "-p", "/var/task", str(destination))
    subprocess.run([interpreter, "-I", "-m", "compileall", *BYTE_CODE, *where], check=True)


def runtime_interpreter() -> str | None:
    """Return an interpreter of the runtime's version: on PATH (a pyenv shim may fail), or pyenv's."""
    version = RUNTIME.removeprefix("python")
    pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}*/bin/{RUNTIME}"))
    for candidate in filter(None, [shutil.which(RUNTIME), *map(str, pyenv)]):
        if subprocess.run([candidate, "-c", ""], capture_output=True).returncode == 0:
            return candidate
    return None


def _copy_distribution(dist: Distribution, destination: Path) -> None:
    for file in dist.files or ():
        if file.suffix == ".pyc" or ".." in file.parts or file.name == "RECORD":
            continue
        if file.suffix in {".so", ".pyd"}:
            raise SystemExit(f"{dist.name} holds {file}: a Lambda of another architecture could not load it")
        _copy(Path(str(dist.locate_file(file))), destination / file)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


if __name__ == "__main__":
    print(sys.argv[1], *package(sys.argv[1], Path(sys.argv[2])))
