"""Imports every entry point of an image with only the packages of its lock visible.

python deploy/tools/image_imports.py stage            in .venv: packages that the lock lacks are hidden
"""

import importlib
import re
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution, packages_distributions
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class Hidden:
    """Replaces the import system's path finder. It hides distributions that the lock does not name."""

    def __init__(self, allowed: set[str]) -> None:
        self.owners = packages_distributions()
        self.allowed = allowed

    def install(self) -> None:
        """Activate the finder. Optional imports of hidden packages fail, as in the image."""
        sys.meta_path[sys.meta_path.index(PathFinder)] = self

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return `None` for a hidden package."""
        owners = {_canonical(owner) for owner in self.owners.get(name.split(".")[0], ())} - {"fraudloop"}
        hidden = owners and not owners & self.allowed
        return None if hidden else PathFinder.find_spec(name, path, target)

    def find_distributions(self, context: Any) -> Iterator[Distribution]:
        """Yield the metadata of the lock's packages only: `version("moto")` fails, as in the image."""
        found = PathFinder.find_distributions(context)
        return (one for one in found if _canonical(one.metadata["Name"]) in self.allowed)


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def entry_points(image: str) -> list[str]:
    """Return the image's entry points: the modules that its Dockerfile, a component or a manifest names."""
    if image != "stage":
        return {
            "triton": ["training.serving.adapter"],
            "operator": ["cli.commands.slo", "cli.commands.drift", "cli.commands.land"],
            "console": ["cli.console.alb", "training.scorelog.read"],
        }[image]
    components = (ROOT / "training/pipelines/components.py").read_text()
    named = re.findall(r'"(training\.[a-z_.]+):[a-z_]+"', components)
    others = ["training.serving.fetch", "training.scorelog.archive", "kfp.dsl.executor_main"]
    return ["training.pipelines.components", *others, *sorted(set(named))]


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    image = sys.argv[1]
    pins = re.findall(r"^[\w.-]+==", (ROOT / f"docker/{image}.lock").read_text(), re.MULTILINE)
    Hidden({_canonical(pin.split("==")[0]) for pin in pins}).install()
    for module in entry_points(image):
        importlib.import_module(module)
        print("imported", module)
