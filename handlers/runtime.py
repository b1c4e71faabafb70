"""What the handlers share: the wired system (one per container), the logger and the metrics."""

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
    """Emits one metric with its own dimensions; dimensions set on `metrics` would apply to the whole invocation."""
    unit = MetricUnit(metric(sample.name).unit)
    with single_metric(sample.name, unit, sample.value, namespace=NAMESPACE) as written:
        for name, value in {**sample.dimensions, **STACK}.items():
            written.add_dimension(name, value)


def each_model(do: Callable[[str], object]) -> list[FraudloopError]:
    """Runs `do` for every model. A failure is logged and does not stop the others. Returns the retryable errors."""
    failures = []
    for model in app().policies:
        try:
            do(model)
        except FraudloopError as error:
            malformed = isinstance(error, Malformed)
            logger.error("model failed, continuing", extra={"model": model, "error": str(error)})
            metrics.add_metric(name="MessagesMalformed", unit="Count", value=int(malformed))
            failures += [] if malformed else [error]
    return failures


def process_batch(records: Iterable[Mapping[str, Any]], do: Callable[[Mapping[str, Any]], None]) -> dict[str, Any]:
    """Runs `do` for every record. Only failed records return to the queue (SQS partial batch response)."""
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
