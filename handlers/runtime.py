"""What every handler shares: the wired system, made once a container, the logger and the metrics."""

import os
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit, single_metric

from statemachine.bootstrap import App, bootstrap
from statemachine.contracts.errors import FraudloopError, Malformed
from statemachine.contracts.metrics import NAMESPACE, metric
from statemachine.reporting.notifications import MetricSample

logger = Logger(service="fraudloop")
metrics = Metrics(namespace=NAMESPACE, service="fraudloop")
STACK = {"stack": os.environ.get("FRAUDLOOP_STACK_NAME") or "local"}  # two stacks of one account share the namespace
metrics.set_default_dimensions(**STACK)
Event = Mapping[str, Any]


@cache
def app() -> App:
    """The system that the environment describes."""
    return bootstrap()


def measure(sample: MetricSample) -> None:
    """Say one figure under its own dimensions; those of `metrics` hold for all that a handler says."""
    unit = MetricUnit(metric(sample.name).unit)
    with single_metric(sample.name, unit, sample.value, namespace=NAMESPACE) as written:
        for name, value in {**sample.dimensions, **STACK}.items():
            written.add_dimension(name, value)


def each_model(do: Callable[[str], object]) -> list[FraudloopError]:
    """Do it for each model; one that fails is said and holds up no other. What trying again may help comes back."""
    failures = []
    for model in app().policies:
        try:
            do(model)
        except FraudloopError as error:
            malformed = isinstance(error, Malformed)
            logger.error("a model is left out", extra={"model": model, "error": str(error)})
            metrics.add_metric(name="MessagesMalformed", unit="Count", value=int(malformed))
            failures += [] if malformed else [error]
    return failures


def process_batch(records: Iterable[Mapping[str, Any]], do: Callable[[Mapping[str, Any]], None]) -> dict[str, Any]:
    """Do it for each record; those that failed go back to the queue alone (SQS partial batch response)."""
    failures = []
    for record in records:
        try:
            do(record)
        except FraudloopError as error:
            failures.append({"itemIdentifier": record["messageId"]})
            malformed = isinstance(error, Malformed)
            logger.error("message failed", extra={"error": str(error), "message_id": record["messageId"]})
            if malformed:
                metrics.add_metric(name="MessagesMalformed", unit="Count", value=1)
    return {"batchItemFailures": failures}
