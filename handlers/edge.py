"""What every handler shares: the wired system, made once a container, the logger and the metrics."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics

from statemachine.bootstrap import App, bootstrap
from statemachine.core.errors import FraudloopError, Malformed
from statemachine.core.metrics import NAMESPACE

logger = Logger(service="fraudloop")
metrics = Metrics(namespace=NAMESPACE, service="fraudloop")
Event = Mapping[str, Any]


@cache
def app() -> App:
    """The system that the environment describes."""
    return bootstrap()


def each(records: Iterable[Mapping[str, Any]], do: Callable[[Mapping[str, Any]], None]) -> dict[str, Any]:
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
