"""Which of our modules a module needs: so that a version carries its own code, and serves as it was trained."""

import ast
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

OURS = ("training", "statemachine")


def closure(*names: str) -> dict[str, Path]:
    """Source files by module name: the named modules, what of ours they import, and the packages around them."""
    found: dict[str, Path] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found or (path := _source(name)) is None:
            continue
        found[name] = path
        waiting += [name.rpartition(".")[0], *imports(path)]
    return dict(sorted(found.items()))


def copy_code(folder: Path, *names: str) -> None:
    """Copy the closure of `names` into `folder`, from where it can be imported."""
    for name, path in closure(*names).items():
        relative = Path(*name.split("."))
        target = folder / (relative / "__init__.py" if path.name == "__init__.py" else relative.with_suffix(".py"))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _source(name: str) -> Path | None:
    if name.partition(".")[0] not in OURS:
        return None
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:  # `name` is something inside of a module
        return None
    return Path(spec.origin) if spec is not None and spec.origin else None


def imports(path: Path) -> Iterator[str]:
    """Everything that a file imports, at its top or inside of a function; names may be modules or things in them."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
