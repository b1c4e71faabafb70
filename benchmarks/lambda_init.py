"""CPU seconds from a bare interpreter to a handler that is wired: median of 5, beside `import kfp, kubernetes`."""

import os
import statistics
import subprocess
import sys

from benchmarks.results import Figure, figure

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
    "announce": "app().slack",
}
NAIVE = "import boto3, kfp, kubernetes.client; boto3.client('dynamodb')"


def run() -> list[Figure]:
    """One figure a handler."""
    naive = cpu_seconds(NAIVE)
    return [
        figure(
            f"lambda.init_cpu_s.{name}",
            cpu_seconds(f"import handlers.{name}; from handlers.edge import app; {WIRED[name]}"),
            "CPU-s",
            "import boto3, kfp, kubernetes",
            naive,
        )
        for name in HANDLERS
    ]


def cpu_seconds(code: str) -> float:
    """The median of what the imports and the wiring take, each time in a fresh interpreter."""
    program = f"import time; t = time.process_time(); {code}; print(time.process_time() - t)"
    times = []
    for _ in range(REPEATS):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, **ENVIRONMENT},
            capture_output=True,
            text=True,
            check=True,
        )
        times.append(float(done.stdout))
    return statistics.median(times)
