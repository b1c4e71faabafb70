"""CPU seconds from a bare interpreter to a handler that is wired: median of 5, beside `import kfp, kubernetes`."""

import os
import statistics
import subprocess
import sys
import tempfile

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
    "announce": "app().announcer",
}
NAIVE = (
    "import boto3, kfp, kubernetes, transitions; from aws_lambda_powertools import Logger, Metrics; "
    "[boto3.client(name) for name in ('dynamodb', 's3', 'sqs')]; "
    "Logger(service='x'); Metrics(namespace='x', service='x')"
)


def run() -> list[Figure]:
    """One figure a handler."""
    naive = cpu_seconds(NAIVE)
    return [
        figure(
            f"lambda.init_cpu_s.{name}",
            cpu_seconds(f"import handlers.{name}; from handlers.edge import app; {WIRED[name]}"),
            "CPU-s",
            "the same through boto3, kfp, kubernetes",
            naive,
        )
        for name in HANDLERS
    ]


def cpu_seconds(code: str) -> float:
    """The median of what the imports and the wiring take, each time in a fresh interpreter."""
    program = f"import time; t = time.process_time(); {code}; print(time.process_time() - t)"
    with tempfile.TemporaryDirectory() as compiled:  # as packaged: the byte code is there, for both sides
        environment = {**os.environ, **ENVIRONMENT, "PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        times = [_once(program, environment) for _ in range(REPEATS + 1)]
    return statistics.median(times[1:])


def _once(program: str, environment: dict[str, str]) -> float:
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)
