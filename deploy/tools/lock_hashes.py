"""Writes the sha256 of every file in the package index beside each pin of a lock.

    .venv/bin/python deploy/tools/lock_hashes.py requirements/all.lock …

Versions do not change. The hashes are the index's own; wheels of this machine (`find-links`) are ignored. torch has no
hashes, because its CPU and CUDA builds are different files under the same version, from their own index.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

UNHASHED = ("torch",)
UV = Path(sys.executable).with_name("uv")


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Yield each pin's name and its text: the pin and its continuation lines."""
    block = ""
    for line in text.splitlines():
        block += line + "\n"
        if not line.endswith("\\"):
            yield block.split("==")[0].strip(), block
            block = ""


def bare(block: str) -> str:
    """Return a pin without its hashes."""
    return block.split("\\")[0].strip()


def hashed(text: str) -> str:
    """Return the same pins in the same order, with their hashes."""
    pins = {name: bare(block) for name, block in blocks(text)}
    found = dict(blocks(_compile([pin for name, pin in pins.items() if name not in UNHASHED])))
    return "".join(found.get(name, f"{pin}\n") for name, pin in pins.items())


def _compile(pins: list[str]) -> str:
    options = ["--no-config", "--no-deps", "--no-header", "--no-annotate", "--generate-hashes", "--quiet"]
    environment = {name: value for name, value in os.environ.items() if not name.endswith("FIND_LINKS")}
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder, "given.in"), Path(folder, "made.lock")
        given.write_text("\n".join(pins) + "\n")
        command = [str(UV), "pip", "compile", *options, "--python-version", "3.11", str(given), "-o", str(made)]
        subprocess.run(command, check=True, env=environment, timeout=600)
        return made.read_text()


if __name__ == "__main__":
    for lock in map(Path, sys.argv[1:]):
        lock.write_text(hashed(lock.read_text()))
