"""The whole system from a checkout, an interpreter and a state folder under a path with spaces and umlauts."""

import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from sysconfig import get_path

import pytest

from local.system import ROOT

FOLDERS = ("handlers", "statemachine", "training", "clients", "local", "cli", "simulation")
PARTS = (*FOLDERS, "fraudloop.toml", "pipelines.toml", "pyproject.toml", "template.yaml")
PROGRAM = """
import json, sys, threading, time
from pathlib import Path
from local.aws.resources import DATA, client
from local.state_dir import StateDir
from local.system import ROOT, System, SystemOptions
from simulation import quick_stages
from training.deployment.verification import served_version

options = SystemOptions(Path(sys.argv[2]), 2.0, environment=quick_stages.environment())
with System(StateDir(Path(sys.argv[1])), options, say=print) as system:
    system.endpoints.enter()
    from statemachine.bootstrap import bootstrap
    app = bootstrap()
    client("s3", system.endpoints.urls["aws"]).put_object(Bucket=DATA, Key="data/fraud/Zahlungen für Ö.csv", Body=b"x")
    until = time.monotonic() + 240
    while not ((run := app.store.load("fraud-1")) and run.state.terminal) and time.monotonic() < until:
        time.sleep(0.2)
    done = run.state.value == "SUCCEEDED"
    served = served_version(system.endpoints.urls["triton"].removeprefix("http://"), "fraud_score") if done else ""
    keys = [one.key for one in app.intake.objects("fraud")]
print(json.dumps({"root": str(ROOT), "state": run.state.value, "reason": run.reason, "candidate": run.candidate,
                  "served": served, "keys": keys, "python": sys.executable}))
"""


@pytest.mark.timeout(420)
def test_a_run_succeeds_from_any_path(tmp_path):
    """Seen: under a folder with a space nothing served, and the error came only after 120 s."""
    checkout = tmp_path / "Meine Projekte – Übung" / "fraud loop"
    shutil.copytree(ROOT / "build/pipelines", checkout / "build/pipelines")
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, checkout / part)
    environment = checkout / ".venv"
    venv.create(environment, symlinks=True)
    packages = environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    _install(packages, checkout)
    state_dir = checkout / ".fraudloop"
    registry = Path(__file__).with_name("deaths.toml")
    command = [environment / "bin" / "python", "-c", PROGRAM, state_dir, registry]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["root"], found["python"]) == (str(checkout), str(environment / "bin" / "python"))
    assert found["state"] == "SUCCEEDED", found["reason"]
    assert found["served"] == found["candidate"] != ""
    assert found["keys"] == ["data/fraud/Zahlungen für Ö.csv"]


def _install(packages, checkout):
    """Ours as `pip install --editable` writes it, and everything else from the environment that runs the tests."""
    ours = Path(get_path("purelib"))
    (finder,) = ours.glob("__editable___fraudloop*_finder.py")
    (packages / finder.name).write_text(finder.read_text().replace(str(ROOT), str(checkout)))
    lines = [f"import sys; sys.path.append({str(ours)!a})", f"import {finder.stem}; {finder.stem}.install()"]
    (packages / "all.pth").write_text("\n".join(lines))
