"""One Lambda's code, and nothing that it does not import: what `sam build` calls for each function.

    python deploy/aws/package.py handlers.step DESTINATION

First-party modules come from the import closure of the handler (imports inside functions count too). Third-party
distributions are copied from this very environment, so the bytes that are shipped are the bytes that were tested; they
must be pure Python, since the Lambda may run on another architecture. boto3 and what it needs are the runtime's.
"""

import ast
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distribution, packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
OURS = ("handlers", "statemachine")
RUNTIME = "python3.12"  # template.yaml says the same; a test compares
# What the runtime brings (its documentation lists boto3 and, through it, these): never packaged.
BROUGHT = frozenset({"boto3", "botocore", "s3transfer", "jmespath", "python-dateutil", "six", "urllib3"})
FILES = (ROOT / "fraudloop.toml", ROOT / "build/pipelines/definitions.json")


def package(handler: str, destination: Path) -> list[str]:
    """Copy `handler`'s modules, their distributions and the settings; returns the distributions' names."""
    modules = closure(handler)
    for module in modules:
        _copy(module, destination / module.relative_to(ROOT))
    names = sorted(requirements(_foreign(modules)))
    for name in names:
        _copy_distribution(distribution(name), destination)
    for file in FILES:
        if not file.exists():
            raise SystemExit(f"{file.relative_to(ROOT)} is missing: run `make build` first")
        _copy(file, destination / file.name)
    compile_for_runtime(destination)
    return names


def closure(handler: str) -> list[Path]:
    """The files of `handler` and of each first-party module that it imports, directly or not."""
    found: dict[str, Path] = {}
    waiting = [handler]
    while waiting:
        name = waiting.pop()
        path = _source(name)
        if name in found or path is None:
            continue
        found[name] = path
        parents = [name.rsplit(".", n)[0] for n in range(1, name.count(".") + 1)]
        waiting += [*parents, *(i for i in imported(path) if i.split(".")[0] in OURS)]
    return sorted(found.values())


def imported(path: Path) -> Iterator[str]:
    """Every module that `path` may import; `from a import b` gives `a` and `a.b`, since b may be a module."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level or node.module is None:
                raise SystemExit(f"{path}: a relative import; name the module in full")
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def requirements(modules: Iterable[str]) -> set[str]:
    """The distributions that hold `modules`, and those they need, less what the runtime brings."""
    owners = packages_distributions()
    waiting = [name for module in modules for name in owners.get(module, ())]
    found: set[str] = set()
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found or name in BROUGHT:
            continue
        found.add(name)
        needs = [Requirement(text) for text in distribution(name).requires or ()]
        waiting += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return found


def compile_for_runtime(destination: Path) -> bool:
    """Byte-compile for the runtime if its interpreter is here: /var/task is read-only, so Lambda would do it at every start."""
    interpreter = runtime_interpreter()
    if interpreter is None:
        print(f"no {RUNTIME} here: shipped without byte code (a slower cold start)", file=sys.stderr)
        return False
    options = ["-q", "--invalidation-mode", "unchecked-hash", "-s", str(destination), "-p", "/var/task"]
    subprocess.run([interpreter, "-I", "-m", "compileall", *options, str(destination)], check=True)
    return True


def runtime_interpreter() -> str | None:
    """An interpreter of the Lambda runtime's version: on PATH (a pyenv shim may fail), or one that pyenv has."""
    pyenv = Path.home() / ".pyenv/versions"
    candidates = [
        shutil.which(RUNTIME),
        *map(str, sorted(pyenv.glob(f"{RUNTIME.removeprefix('python')}*/bin/{RUNTIME}"))),
    ]
    for candidate in filter(None, candidates):
        if subprocess.run([candidate, "-c", ""], capture_output=True).returncode == 0:
            return candidate
    return None


def _foreign(modules: Iterable[Path]) -> set[str]:
    tops = {name.split(".")[0] for path in modules for name in imported(path)}
    return tops - set(OURS) - set(sys.stdlib_module_names)


def _source(name: str) -> Path | None:
    path = ROOT.joinpath(*name.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.exists()), None)


def _copy_distribution(dist: Distribution, destination: Path) -> None:
    for file in dist.files or ():
        if file.suffix == ".pyc" or ".." in file.parts or "RECORD" in file.name:
            continue
        if file.suffix in {".so", ".pyd"}:
            raise SystemExit(f"{dist.name} holds {file}: a Lambda of another architecture could not load it")
        _copy(Path(str(dist.locate_file(file))), destination / file)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


if __name__ == "__main__":
    if importlib.util.find_spec("aws_lambda_powertools") is None:
        raise SystemExit("run it with the interpreter of .venv, whose packages are shipped: make sam-build")
    print(sys.argv[1], *package(sys.argv[1], Path(sys.argv[2])))
