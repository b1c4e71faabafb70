"""A model that an earlier release wrote is still read: the champion must be scored after an upgrade."""

import json
import shutil
from pathlib import Path

import pytest
from trained_model import Trained

from training.model.model import load
from training.outcome import Permanent


def rewritten(trained: Trained, folder: Path, number: int) -> Path:
    shutil.copytree(trained.folder, folder)
    record = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(record | {"format": number}))
    return folder


def test_a_format_of_the_future_is_refused(trained: Trained, tmp_path: Path) -> None:
    """The error names the formats that can be read."""
    with pytest.raises(Permanent, match="readable are 1 to 3"):
        load(rewritten(trained, tmp_path / "model", 4))
