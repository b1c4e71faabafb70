"""CPU seconds from a bare interpreter to a ready handler: median of 5, beside one that imports kfp and kubernetes."""

import os
import statistics
import subprocess
import sys
import tempfile

from benchmarks.results import Measurement, measurement

HANDLERS = ("arrival", "nightly", "tick", "step", "announce")
REPEATS = 5
ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "FRAUDLOOP_TABLE": "t",
    "FRAUDLOOP_DATA_BUCKET": "d",
    "FRAUDLOOP_ARTIFACTS_BUCKET": "a",
    "FRAUDLOOP_HINTS_QUEUE_URL": "q",
    "FRAUDLOOP_KFP_URL": "http://127.0.0.1:9",
}
WIRED = {
    "arrival": "app().intake",
    "nightly": "app().intake, app().files, app().hints",
    "tick": "app().intake, app().hints",
    "step": "app().reconciler",
    "announce": "app().notifier",
}
NAIVE = "import kfp, kubernetes; "  # the imports that this project's handlers avoid


def run() -> list[Measurement]:
    """One measurement per handler."""
    return [_beside_naive(name) for name in HANDLERS]


def _beside_naive(name: str) -> Measurement:
    wired = f"import handlers.{name}; from handlers.runtime import app; {WIRED[name]}"
    peer = "the same handler with import kfp, kubernetes"
    return measurement(f"lambda.init_cpu_s.{name}", cpu_seconds(wired), "CPU-s", peer, cpu_seconds(NAIVE + wired))


def cpu_seconds(code: str) -> float:
    """The median CPU seconds of the imports and of bootstrap, each time in a fresh interpreter."""
    program = f"import time; t = time.process_time(); {code}; print(time.process_time() - t)"
    with tempfile.TemporaryDirectory() as compiled:  # as packaged: both sides have byte code
        environment = {**os.environ, **ENVIRONMENT, "PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        times = [_once(program, environment) for _ in range(REPEATS + 1)]
    return statistics.median(times[1:])


def _once(program: str, environment: dict[str, str]) -> float:
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)
