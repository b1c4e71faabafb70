"""Kubernetes' restart policy for the parts that it would run: one that has ended is started again."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from local.system import DidNotStart, System

log = logging.getLogger(__name__)

LOOK = 0.2  # seconds between two looks, and before a restart


@contextmanager
def supervised(system: System, parts: Sequence[str] = ("kfp",)) -> Iterator[None]:
    """Keep these parts of a running system alive for as long as the block lasts."""
    stop = threading.Event()
    keeper = threading.Thread(target=_keep, args=(system, parts, stop), name="keeper", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        stop.set()
        keeper.join()


def _keep(system: System, parts: Sequence[str], stop: threading.Event) -> None:
    while not stop.wait(LOOK):
        for part in (part for part in parts if system.ended(part)):
            log.warning("%s has ended; it is started again", part)
            try:
                system.restart(part)
            except DidNotStart as error:  # the next look tries again
                log.warning("%s", error)
