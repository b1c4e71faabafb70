"""Injects faults into the local system's pods. No production code knows of them: they change a pod's own copy."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

FILE = "faults.json"


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
