"""The nightly schedule: list the prefix, take in objects whose event never came, ask that the window closes."""

import time
from collections.abc import Callable
from typing import Any

from handlers.runtime import Event, app, each_model, logger, metrics
from statemachine.contracts.errors import Malformed
from statemachine.core.events import slot
from statemachine.core.run import Trigger

RESERVE = 45  # seconds: a page of new keys, and then the closing of the window


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: Event, context: Any) -> dict[str, Any]:
    """Once a slot and model, however often the schedule fires; one model's trouble stops nobody else's night.

    A slot that is no time or lies ahead is refused, and ends in the night's dead-letter queue.
    What does not fit into one invocation goes on in the next one, which this one asks for, where it stopped.
    """
    scheduled, started, unfinished = _slot(event), {}, []

    def enough() -> bool:
        return bool(context.get_remaining_time_in_millis() < RESERVE * 1000)

    def one(model: str) -> None:
        run = _list_and_close(model, scheduled, enough)
        started.update({model: run or ""})
        unfinished.extend([] if run is not None else [model])

    failed = each_model(one)
    if unfinished:
        app().again(context.invoked_function_arn, dict(event))
    elif failed:  # an outage, say: Lambda tries again, and whoever has had this night does not have it twice
        raise failed[0]
    return {"slot": scheduled, "began": started, "unfinished": unfinished}


def _list_and_close(model: str, scheduled: str, enough: Callable[[], bool]) -> str | None:
    """The run that this night began; "" if none, `None` while the prefix is not listed to its end."""
    intake = app().intake
    place, taken = app().listing.go_on(model, scheduled, enough)
    metrics.add_metric(name="ObjectsQuarantined", unit="Count", value=taken.quarantined)
    logger.info("listed", extra={"model": model, "slot": scheduled, "done": place.done, "late_objects": taken.joined})
    if not place.done:
        return None
    first = intake.ask(model, Trigger("nightly", scheduled, f"the night of {scheduled}"), slot=scheduled)
    run = intake.close_due(model) if first else None
    if run is not None:
        app().hints.look_at([run.id])
    return run.id if run else ""


def _slot(event: Event) -> str:
    try:
        return slot(event, time.time())
    except Malformed:
        metrics.add_metric(name="MessagesMalformed", unit="Count", value=1)
        raise
