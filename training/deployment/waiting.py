"""Polls until there is a result, and decides how long a stage tolerates outages, lost races and denials."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from training.deployment.cluster import ClusterForbidden, ClusterUnreachable, StaleResourceVersion
from training.outcome import Permanent

T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """Times in seconds. Degraded health must last `degraded`: just after a sync it can be that of the old pods.

    401, 403 and 404 must last `denied`: for minutes after a restart an API server knows neither rights nor kinds.
    """

    first_pause: float = 0.2
    longest_pause: float = 3.0
    degraded: float = 3.0
    unanswered: float = 60.0
    denied: float = 120.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def until(look: Callable[[], T | None], patience: Patience, deadline: float, late: Callable[[str], Exception]) -> T:
    """Returns the first result of `look`. A lost race, an outage or a denial is no result, so it polls again.

    Raises:
        Permanent: the API denied access for `patience.denied` seconds without a break.
        ClusterUnreachable: the API did not answer for `patience.unanswered` seconds.
        Exception: at the deadline, what `late` returns for the last problem.
    """
    pause, problem = patience.first_pause, ""
    last_answer, denied_since = patience.clock(), None
    while (now := patience.clock()) < deadline:
        try:
            if found := look():
                return found
            last_answer, denied_since, problem = now, None, ""
        except StaleResourceVersion:
            last_answer, denied_since, problem = now, None, "the Application was changed meanwhile"
        except ClusterForbidden as error:
            last_answer, problem = now, error.reason
            denied_since = now if denied_since is None else denied_since
            if now - denied_since > patience.denied:
                raise Permanent(f"{error.reason} (for {patience.denied:.0f} s)") from error
        except ClusterUnreachable as error:
            denied_since, problem = None, error.reason
            if now - last_answer > patience.unanswered:
                raise
        patience.sleep(pause)
        pause = min(pause * 1.5, patience.longest_pause)
    raise late(problem)
