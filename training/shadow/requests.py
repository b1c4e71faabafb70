"""What candidate and champion are asked: recent requests of the score log, or a version's own test rows."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training import storage
from training.export.golden import REQUESTS, Exchange, Golden, tensors_from
from training.graph.days import DAY
from training.scorelog.read import read
from training.serving import Tensors

LOG = logging.getLogger("fraudloop.shadow")
SCORED = "fraud_score"
MOST_RECORDS = 200_000  # of the log that are looked at; a sample of them holds a complete request


@dataclass(frozen=True)
class ReplayRequest:
    """One transaction as `fraud_score` takes it, and the probability on record of the version that answered it."""

    inputs: Tensors
    probability: float

    @property
    def line(self) -> bytes:
        """The raw transaction."""
        return bytes(self.inputs["TRANSACTION"].ravel()[0])


@dataclass(frozen=True)
class Sampled:
    """Requests of one source, `log` or `export`; `per_day` is how many payments come in a day, None if not known."""

    source: str
    requests: Sequence[ReplayRequest]
    per_day: float | None = None


def logged(root: str, model: str, version: str, now: float, days: float, count: int) -> Sampled:
    """The newest `count` complete requests that `version` answered in the last `days` with its history at hand."""
    records = read(root, model, now - days * DAY, MOST_RECORDS)
    times = records["at"].to_numpy()
    span = float(np.ptp(times)) if len(times) > 1 else 0.0
    wanted = records.filter((records["version"] == version) & (records["degraded"] == "") & (records["request"] != ""))
    found = []
    for text, probability in wanted.tail(count).select("request", "probability").iter_rows():
        try:
            found.append(ReplayRequest(_tensors(text), float(probability)))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            LOG.warning("a logged request cannot be read and is left out: %s: %s", type(error).__name__, error)
    return Sampled("log", found, len(records) / span * DAY if span > 0 else None)


def exported(version_uri: str, count: int) -> Sampled:
    """The test rows that a version was exported with, answered offline; of an earlier release its golden requests."""
    there = storage.join(version_uri, REQUESTS)
    uri = there if storage.exists(there) else storage.join(version_uri, "golden.json")
    exchanges = [one for one in Golden.from_dict(storage.read_json(uri)).exchanges if one.model == SCORED]
    rows = [row for exchange in exchanges for row in _rows(exchange)]
    return Sampled("export", rows[:count])


def fitting(requests: Sequence[ReplayRequest], config: Mapping[str, Any]) -> list[ReplayRequest]:
    """The requests that a server's model takes: names and widths of the inputs are those of its configuration."""
    widths = {port["name"]: [int(size) for size in port["dims"]] for port in config["input"]}
    return [one for one in requests if all(widths.get(name) == list(v.shape[1:]) for name, v in one.inputs.items())]


def _tensors(text: str) -> Tensors:
    record = json.loads(text)
    return tensors_from(record["inputs"] if isinstance(record, dict) else record)


def _rows(exchange: Exchange) -> list[ReplayRequest]:
    """A batch as single requests."""
    answers = exchange.outputs["PROBABILITY"].ravel()
    return [
        ReplayRequest({name: np.asarray(v[n : n + 1]) for name, v in exchange.inputs.items()}, float(probability))
        for n, probability in enumerate(answers)
    ]
