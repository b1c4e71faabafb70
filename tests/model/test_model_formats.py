"""A model that an earlier release wrote is still read: the champion must be scored after an upgrade."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from trained_model import Trained

from training.model.model import FORMER_WEIGHTS, load
from training.outcome import Permanent


def former_name(name: str) -> str:
    for former, present in FORMER_WEIGHTS.items():
        if name.startswith(present):
            return former + name.removeprefix(present)
    return name


def rewritten(trained: Trained, folder: Path, number: int) -> Path:
    shutil.copytree(trained.folder, folder)
    record = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(record | {"format": number}))
    return folder


def test_weights_of_format_1_are_read(trained: Trained, tmp_path: Path) -> None:
    """Format 1 named the message builder's modules otherwise; every tensor arrives under its present name."""
    folder = rewritten(trained, tmp_path / "model", 1)
    weights = load_file(folder / "encoder.safetensors")
    former = {former_name(name): tensor for name, tensor in weights.items()}
    assert any(name.startswith("listener.said.") for name in former)
    save_file(former, folder / "encoder.safetensors")
    read, wanted = load(folder).encoders, trained.model.encoders
    assert read is not None
    assert wanted is not None
    assert all(torch.equal(tensor, wanted.state_dict()[name]) for name, tensor in read.state_dict().items())


def test_a_format_of_the_future_is_refused(trained: Trained, tmp_path: Path) -> None:
    """The error names the formats that can be read."""
    with pytest.raises(Permanent, match="readable are 1 to 3"):
        load(rewritten(trained, tmp_path / "model", 4))
