"""Manifests as `kubectl apply -k` would send them, rendered once."""

import pytest
from manifests import FOLDERS, ROOT, render


@pytest.fixture(scope="session")
def rendered():
    """Objects by folder of deploy/."""
    return {folder: render(ROOT / "deploy" / folder) for folder in FOLDERS}
