"""The nightly schedule: list the prefix, ingest objects whose event was lost, and request that the window closes."""

import time
from collections.abc import Callable
from typing import Any

from handlers.runtime import Event, app, each_model, logger, metrics
from statemachine.contracts.errors import Malformed
from statemachine.contracts.limits import clipped
from statemachine.core.events import slot
from statemachine.core.run import Trigger

RESERVE = 45  # seconds: a page of new keys, and then the closing of the window


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: Event, context: Any) -> dict[str, Any]:
    """Idempotent per (slot, model). A model that fails does not stop the other models.

    `models` in the event names those that are meant (else all), `why` says what asks outside of the schedule.
    A slot that is not a time, or lies ahead, is rejected and ends in the dead-letter queue of this function. If the
    listing does not fit into one invocation, the handler invokes itself again to continue where it stopped.
    """
    (scheduled, meant), started, unfinished = _slot(event), {}, []
    why = clipped(str(event.get("why") or f"the nightly run of {scheduled}"))

    def enough() -> bool:
        return bool(context.get_remaining_time_in_millis() < RESERVE * 1000)

    def one(model: str) -> None:
        if model not in meant:
            return
        run = _list_and_close(model, scheduled, why, enough)
        started.update({model: run or ""})
        unfinished.extend([] if run is not None else [model])

    failed = each_model(one)
    if unfinished:
        app().again(context.invoked_function_arn, dict(event))
    elif failed:  # Lambda retries after an outage; models already processed for this slot are skipped
        raise failed[0]
    return {"slot": scheduled, "began": started, "unfinished": unfinished}


def _list_and_close(model: str, scheduled: str, why: str, enough: Callable[[], bool]) -> str | None:
    """The id of the run that this slot started; "" if none, `None` while the listing is incomplete."""
    intake = app().intake
    place, taken = app().listing.go_on(model, scheduled, enough)
    metrics.add_metric(name="ObjectsQuarantined", unit="Count", value=taken.quarantined)
    logger.info("listed", extra={"model": model, "slot": scheduled, "done": place.done, "late_objects": taken.joined})
    if not place.done:
        return None
    first = intake.ask(model, Trigger("nightly", scheduled, why), slot=scheduled)
    run = intake.close_due(model) if first else None
    if run is not None:
        app().hints.look_at([run.id])
    return run.id if run else ""


def _slot(event: Event) -> tuple[str, list[str]]:
    """The event's slot and the models that it names, or all."""
    try:
        return slot(event, time.time()), _meant(event)
    except Malformed:
        metrics.add_metric(name="MessagesMalformed", unit="Count", value=1)
        raise


def _meant(event: Event) -> list[str]:
    known = list(app().policies)
    named = event.get("models", known)
    if not isinstance(named, list) or any(name not in known for name in named):
        raise Malformed(f"a nightly event for {clipped(str(named), 200)}; fraudloop.toml names {', '.join(known)}")
    return named
