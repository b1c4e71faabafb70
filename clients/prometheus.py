"""Prometheus: one number at a time, by its HTTP API (https://prometheus.io/docs/prometheus/latest/querying/api/)."""

import json
import math
import urllib.error
import urllib.parse
import urllib.request

from statemachine.contracts.errors import Misconfigured, Unreachable

SECONDS = 30.0
MOST = 1 << 20  # bytes of an answer


def number(url: str, query: str) -> float | None:
    """What an expression gives now; None if it gives nothing, or no number.

    Raises:
        Unreachable: Prometheus does not answer, or refuses.
        Misconfigured: the expression gives several series.
    """
    where = f"{url.rstrip('/')}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    try:
        with urllib.request.urlopen(where, timeout=SECONDS) as answer:
            told = json.loads(answer.read(MOST))["data"]
            found = [told["result"]] if told["resultType"] == "scalar" else [one["value"] for one in told["result"]]
    except (OSError, ValueError, KeyError, TypeError, urllib.error.HTTPError) as error:
        raise Unreachable(f"Prometheus at {url}: {error}") from error
    if len(found) > 1:
        raise Misconfigured(f"{query} gives {len(found)} series; one is expected")
    value = float(found[0][1]) if found else math.nan
    return value if math.isfinite(value) else None
