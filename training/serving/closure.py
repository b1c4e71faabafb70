"""Finds the source files of ours that a module imports, so that a version or a package carries exactly its own code.

The imports are read from the source, those inside functions included. No module is imported to find them.
"""

import ast
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

OURS = ("training", "statemachine")
ROOT = Path(__file__).resolve().parents[2]  # the folder that holds all packages of ours


def closure(*names: str, ours: Collection[str] = OURS) -> dict[str, Path]:
    """Returns the source files by module name, sorted.

    They are the named modules, every module of the packages `ours` that they import, directly or not, and the packages
    that contain these modules.
    """
    found: dict[str, Path] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found or name.partition(".")[0] not in ours or (path := _source(name)) is None:
            continue
        found[name] = path
        waiting += [name.rpartition(".")[0], *imports(path)]
    return dict(sorted(found.items()))


def copy_code(folder: Path, *names: str) -> None:
    """Copies the closure of `names` into `folder`, from where it can be imported."""
    for path in closure(*names).values():
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def imports(path: Path) -> Iterator[str]:
    """Yields each name that a file imports; `from a import b` yields `a` and `a.b`, because `b` may be a module.

    Raises:
        ValueError: the file has a relative import, which this function cannot resolve.
    """
    for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level or node.module is None:
                raise ValueError(f"{path}: a relative import; name the module in full")
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _source(name: str) -> Path | None:
    """The file of a module or package; None if the name is a class, a function or a value inside a module."""
    path = ROOT.joinpath(*name.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.is_file()), None)
