"""What a module needs: our own files that it imports, and the installed distributions behind the rest.

Read from the source, imports inside of functions included: nothing is imported to find out.
"""

import ast
import sys
from collections.abc import Collection, Iterable, Iterator
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


def closure(roots: Iterable[str], ours: Collection[str]) -> list[Path]:
    """The files of `roots` and of each module of the packages `ours` that they import, directly or not."""
    found: dict[str, Path] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        path = _source(name)
        if name in found or path is None:
            continue
        found[name] = path
        parents = [name.rsplit(".", n)[0] for n in range(1, name.count(".") + 1)]
        waiting += [*parents, *(i for i in imported(path) if i.split(".")[0] in ours)]
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


def foreign(files: Iterable[Path], ours: Collection[str]) -> set[str]:
    """Top-level names that `files` import from neither us nor the standard library."""
    tops = {name.split(".")[0] for path in files for name in imported(path)}
    return tops - set(ours) - set(sys.stdlib_module_names)


def distributions(modules: Iterable[str], without: Collection[str] = (), extras: Iterable[str] = ()) -> set[str]:
    """The distributions that hold `modules`, those of `extras`, and all that they need.

    Less `without`, and what only that needs. `extras` are requirements such as `tritonclient[http]`.
    """
    owners = packages_distributions()
    waiting = [Requirement(name) for module in modules for name in owners.get(module, ())]
    waiting += [Requirement(extra) for extra in extras]
    found: set[str] = set()
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        need = waiting.pop()
        name, options = canonicalize_name(need.name), frozenset(need.extras)
        if (name, options) in seen or name in without:
            continue
        seen.add((name, options))
        found.add(name)
        for text in distribution(name).requires or ():
            then = Requirement(text)
            wanted = ("", *options)
            if then.marker is None or any(then.marker.evaluate({"extra": extra}) for extra in wanted):
                waiting.append(then)
    return found


def _source(name: str) -> Path | None:
    path = ROOT.joinpath(*name.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.exists()), None)
