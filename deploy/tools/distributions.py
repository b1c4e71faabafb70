"""Finds the installed distributions that a set of our files imports, and all that these require."""

import sys
from collections.abc import Collection, Iterable
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from training.serving.closure import imports

# Markers count as on the oldest release of Python that has our pins: the images of `make check-images` have Debian's.
OLDEST = {"python_full_version": "3.11.0"}


def foreign(files: Iterable[Path], ours: Collection[str]) -> set[str]:
    """Returns the top-level names that `files` import, less our packages and the standard library."""
    tops = {name.split(".")[0] for path in files for name in imports(path)}
    return tops - set(ours) - set(sys.stdlib_module_names)


def distributions(modules: Iterable[str], without: Collection[str] = (), extras: Iterable[str] = ()) -> set[str]:
    """Returns the distributions that provide `modules`, those of `extras`, and all that they require.

    A distribution in `without` is left out, and so is what only it requires. `extras` are requirements such as
    `tritonclient[http]`.
    """
    owners = packages_distributions()
    waiting = [Requirement(name) for module in modules for name in owners.get(module, ())]
    waiting += [Requirement(extra) for extra in extras]
    found: set[str] = set()
    visited: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement = waiting.pop()
        name, options = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, options) in visited or name in without:
            continue
        visited.add((name, options))
        found.add(name)
        for text in distribution(name).requires or ():
            required = Requirement(text)
            wanted = ("", *options)
            if required.marker is None or any(required.marker.evaluate(OLDEST | {"extra": extra}) for extra in wanted):
                waiting.append(required)
    return found
