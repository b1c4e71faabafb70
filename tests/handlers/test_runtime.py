"""What a handler says of itself carries the stack: two stacks of an account share the namespace."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
from handlers import runtime
from statemachine.reporting.notifications import MetricSample
runtime.measure(MetricSample("RunsFailed", 1, {"model": "fraud"}))
for value in (1, 2):
    runtime.metrics.add_metric(name="TickDueRuns", unit="Count", value=value)
    runtime.metrics.flush_metrics()
"""


@pytest.mark.parametrize(("given", "stack"), [("fraudloop-prod", "fraudloop-prod"), ("", "local")])
def test_each_metric_has_its_stack_as_a_dimension(given, stack):
    """Figures of a model, and what holds for a whole invocation; the second of a warm container as well."""
    environment = {**os.environ, "FRAUDLOOP_STACK_NAME": given, "POWERTOOLS_METRICS_DISABLED": "false"}
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    dimensions = [sorted(each["_aws"]["CloudWatchMetrics"][0]["Dimensions"][0]) for each in lines]
    assert dimensions == [["model", "stack"], ["service", "stack"], ["service", "stack"]]
    assert {each["stack"] for each in lines} == {stack}
