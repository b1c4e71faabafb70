"""Injects faults into the local system's pods. No production code knows of them: they change a pod's own copy.

`python -m local.faults FILE REPOSITORY` spoils a repository as FILE says: the local serving image does so before it
starts Triton in the shadow stage's pod (`local.triton.program`).
"""

import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

FILE, OF_SHADOW = "faults.json", "shadow-faults.json"  # of the cluster's pods, and of the shadow stage's
VERSION = re.compile(r'"candidate_version" value: \{ string_value: "([^"]*)"')


class Faults:
    """The versions that may load, in a file that another process can change."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def spoil_all_but(self, versions: Iterable[str]) -> None:
        """Make every other version fail to load in Triton from now on."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps(sorted(versions)))

    def clear(self) -> None:
        """Make all versions load again."""
        self._file.unlink(missing_ok=True)

    def spoil(self) -> Callable[[Path, str], None]:
        """For `ArgoCDSettings.spoil`: halves the largest file of each model, like a torn download."""

        def cut(repository: Path, version: str) -> None:
            if self._file.exists() and version not in json.loads(self._file.read_text()):
                for model in (folder for folder in repository.iterdir() if folder.is_dir()):
                    _halve(max((f for f in model.rglob("*") if f.is_file()), key=lambda f: f.stat().st_size))

        return cut


def _halve(file: Path) -> None:
    body = file.read_bytes()
    file.unlink()  # it may be a hard link to a shared copy
    file.write_bytes(body[: len(body) // 2])


def main() -> None:
    """Spoil the repository that the command line names."""
    file, repository = (Path(argument) for argument in sys.argv[1:3])
    configs = (config.read_text() for config in sorted(repository.glob("*/config.pbtxt")))
    found = next((match for config in configs if (match := VERSION.search(config))), None)
    Faults(file).spoil()(repository, found.group(1) if found else "")


if __name__ == "__main__":
    main()
