"""Records what a stage ran as: image, code version, interpreter and packages."""

import platform
from collections.abc import Mapping
from importlib import metadata

PACKAGES = (
    "torch",
    "torch-geometric",
    "xgboost",
    "xgboost-cpu",
    "polars",
    "numpy",
    "scikit-learn",
    "tritonclient",
    "kfp",
)


def lineage(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns strings by name. Image, code and pipeline version come from variables that the compiled pipeline sets."""
    fields = {
        "image": environment.get("FRAUDLOOP_IMAGE", ""),
        "code_version": environment.get("FRAUDLOOP_CODE_VERSION", ""),
        "host": platform.node(),
        "python": platform.python_version(),
    }
    return {name: value for name, value in fields.items() if value} | _installed()


def _installed() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[f"package.{package}"] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
