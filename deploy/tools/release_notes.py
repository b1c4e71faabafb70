"""Prints a release's notes: the section of CHANGELOG.md for a tag.

python3 deploy/tools/release_notes.py v0.1.0
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def notes(tag: str, changelog: str, version: str) -> str:
    """The section's text, without its heading; `version` is pyproject.toml's.

    Raises:
        SystemExit: the tag is not v + `version`, or the changelog has no such section or an empty one.
    """
    if tag != f"v{version}":
        raise SystemExit(f"the tag is {tag}, pyproject.toml says {version}: tag v{version}, or raise the version first")
    found = re.search(rf"^## \[?{re.escape(version)}\]?[^\n]*\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if not found or not found[1].strip():
        raise SystemExit(f"CHANGELOG.md has no section {version}: move what is under Unreleased there, with the date")
    return found[1].strip() + "\n"


if __name__ == "__main__":
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    print(notes(sys.argv[1], (ROOT / "CHANGELOG.md").read_text(), project["version"]), end="")
