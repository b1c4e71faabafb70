import json
import time
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from cli.main import app as commands
from local import cloud, resources
from statemachine.bootstrap import bootstrap
from statemachine.core.model import Release
from statemachine.core.run import Entry, Run, Trigger
from statemachine.core.states import State
from statemachine.core.window import Object

NOW = 1_790_000_000.0


@pytest.fixture
def system(monkeypatch, tmp_path):
    """An empty deployment in a local cloud, named by the environment as one on AWS would be."""
    from moto.moto_api._internal.models import moto_api_backend

    monkeypatch.setenv("FRAUDLOOP_HOME", str(tmp_path / "none"))
    with cloud.serving() as url:
        made = resources.create(url)
        environment = resources.CREDENTIALS | made.environment() | {"AWS_ENDPOINT_URL": url}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield bootstrap()
    moto_api_backend.reset()


@pytest.fixture
def fraudloop(monkeypatch):
    """Runs a command; gives its result."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    return lambda *arguments: CliRunner().invoke(commands, list(arguments))


def played(system, *, path, run_id="fraud-1", **fields):
    """Write a run that went through the states of `path`: (state, seconds since its creation, row, reason)."""
    ledger = system.ledger
    first, *later = path
    created = time.time() - 600
    run = Run(
        id=run_id, model="fraud", epoch=int(run_id.split("-")[1]), state=State[first[0]], version=1, created_at=created
    )
    run = replace(
        run, entered_at=created, due_at=created, trigger=Trigger("arrival", why="3 objects, then quiet for 300 s")
    )
    model = ledger.model("fraud")
    ledger.begin(run, replace(model, training=run_id), Entry(run_id, 1, created, "", first[0], first[2], first[3]))
    for number, (state, after, row, reason) in enumerate(later, 2):
        before = ledger.model("fraud")
        at = created + after
        entry = Entry(run_id, number, at, run.state.value, state, row, reason, attempt=1)
        rests = State[state].rests
        run = replace(
            run, state=State[state], version=number, entered_at=at, reason=reason, **(fields if rests else {})
        )
        ledger.move(run, replace(before, training="") if rests else before, before, entry)
    return run


HAPPY = [
    ("QUEUED", 0, "arrival", "3 objects, then quiet for 300 s"),
    ("PREPROCESSING", 1, "from_preprocess", ""),
    ("TRAINING", 11, "learned", ""),
    ("EVALUATING", 101, "reported", ""),
    ("EXPORTING", 111, "passed", ""),
    ("DEPLOYING", 114, "exported", ""),
    ("SUCCEEDED", 122, "proven", ""),
]


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
    system.ledger.change_model("fraud", lambda model: replace(model, champion=release))
    system.intake.arrive(
        [
            Object("fraudloop-data", f"data/fraud/{name}.csv", etag=name * 8, size=size)
            for name, size in {"a": 9, "b": 0}.items()
        ]
    )
    return run


def read(result):
    """What a command printed with --json."""
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)
