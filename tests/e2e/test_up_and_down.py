"""`fraudloop up --detach`, a look around and `fraudloop down`, typed as the pages show them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(300)
def test_up_then_runs_then_down_then_up_again(tmp_path):
    """A system in a folder of its own: it answers after `up`, goes on after `down`, and a second `down` is no error."""
    home = tmp_path / "a home"

    def fraudloop(*words):
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *words],
            cwd=ROOT,
            env=os.environ | {"FRAUDLOOP_HOME": str(home), "NO_COLOR": "1", "COLUMNS": "120"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    try:
        assert "http://127.0.0.1:" in fraudloop("up", "--detach")
        fraudloop("runs")
        assert str(home) in fraudloop("down")
        fraudloop("up", "--detach")
        fraudloop("runs")
    finally:
        fraudloop("down")
    assert "no local system runs" in fraudloop("down")
