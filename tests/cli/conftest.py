from dataclasses import replace

import pytest
from played_runs import HAPPY, played
from typer.testing import CliRunner

from cli.main import app as commands
from statemachine.core.model import Release
from statemachine.core.window import Object

NOW = 1_790_000_000.0


@pytest.fixture
def fraudloop(monkeypatch):
    """Runs a command; gives its result."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    return lambda *arguments: CliRunner().invoke(commands, list(arguments))


@pytest.fixture
def succeeded(system):
    """`fraud-1` has succeeded, its version serves, and one of its two objects was set aside."""
    checks = [{"name": "auc_roc", "value": 0.971, "limit": 0.9, "passed": True, "note": "0.971 is not below 0.9"}]
    run = played(
        system,
        path=HAPPY,
        metrics={"auc_roc": 0.971, "average_precision": 0.41},
        candidate="fraud-1-aabbccdd",
        verdict={"passed": True, "checks": checks, "reason": "all 1 checks held"},
        manifest="s3://fraudloop-artifacts/runs/fraud-1/manifest.json",
    )
    release = Release("fraud-1-aabbccdd", "fraud-1", "s3://x", 1, NOW)
    system.store.change_model("fraud", lambda model: replace(model, champion=release))
    system.intake.arrive(
        [
            Object("fraudloop-data", f"data/fraud/{name}.csv", etag=name * 8, size=size)
            for name, size in {"a": 9, "b": 0}.items()
        ]
    )
    return run
