"""`report.json` and `started.json`: what a stage says about itself, parsed once and trusted inside.

A valid report of the adopted launch *is* the stage's result; KFP's own state only tells failure and
liveness. Both files lie under `runs/<run>/<stage>/<attempt>/<launch_id>/`; `started.json` is a stage's
first write and `report.json` its last.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from statemachine.contracts.errors import Malformed
from statemachine.contracts.limits import LONGEST_TEXT, METRIC_BYTES, OUTPUT_BYTES, clipped

FORMAT = 1
READABLE = frozenset({1})
MAX_BYTES = 256 * 1024
MAX_NAMES, MAX_TEXT = 100, LONGEST_TEXT  # outputs, metrics; characters
LARGEST_NUMBER = 2**53
STARTED = "started.json"
REPORT = "report.json"


class Outcome(Enum):
    """How a stage ended: it did its work, it judged that the answer is no, or it could not do it."""

    OK = "ok"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True)
class Artifact:
    """A file or folder that a stage left in S3. `sha256` is of the file, or of a folder's manifest; "" if none."""

    uri: str
    sha256: str = ""


@dataclass(frozen=True)
class Report:
    """What a stage reports. `details` is the stage's own: `evaluation`, `version`, `served`, `live_generation`."""

    run_id: str
    stage: str
    attempt: int
    launch_id: str
    outcome: Outcome
    reason: str = ""
    permanent: bool = False
    outputs: Mapping[str, Artifact] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    lineage: Mapping[str, str] = field(default_factory=dict)
    started_at: float = 0.0
    finished_at: float = 0.0
    format: int = FORMAT

    def dumps(self) -> bytes:
        """The report as the bytes of `report.json`; `details` without NaN, which is not JSON."""
        record = asdict(self) | {"outcome": self.outcome.value}
        return json.dumps(record, allow_nan=False, sort_keys=True, indent=1).encode()


def parse(body: bytes, *, run_id: str, stage: str, attempt: int, launch_id: str) -> Report:
    """The report in `body`, which must be the one of exactly this launch.

    Raises:
        Malformed: it is too large, not JSON, of an unknown format, incomplete, or speaks for another launch.
    """
    if len(body) > MAX_BYTES:
        raise Malformed(f"report.json has {len(body)} bytes, more than {MAX_BYTES}")
    try:
        record = json.loads(body, parse_constant=_not_json)
        if not isinstance(record, dict):
            raise Malformed(f"report.json holds a {type(record).__name__}, not an object")
        if record.get("format") not in READABLE:
            raise Malformed(f"report.json has format {record.get('format')!r}; readable: {sorted(READABLE)}")
        report = _report(record)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise Malformed(f"report.json cannot be read: {type(error).__name__}: {error}") from error
    _bounded(report)
    named = (report.run_id, report.stage, report.attempt, report.launch_id)
    expected = (run_id, stage, attempt, launch_id)
    if named != expected:
        raise Malformed(f"report.json speaks for {named}, but lies where {expected} should")
    return report


def _bounded(report: Report) -> None:
    if max(len(report.outputs), len(report.metrics)) > MAX_NAMES:
        raise Malformed(
            f"report.json has {len(report.outputs)} outputs, {len(report.metrics)} metrics: over {MAX_NAMES}"
        )
    texts = [*report.outputs, *report.metrics, *(a.uri + a.sha256 for a in report.outputs.values())]
    if any(len(text) > MAX_TEXT for text in texts):
        raise Malformed(f"report.json has a name or URI of more than {MAX_TEXT} characters")
    outputs = {name: asdict(artifact) for name, artifact in report.outputs.items()}
    for what, kept, most in (("outputs", outputs, OUTPUT_BYTES), ("metrics", dict(report.metrics), METRIC_BYTES)):
        if (size := len(json.dumps(kept))) > most:  # as the record's JSON text: beyond ASCII 6 bytes a character
            raise Malformed(f"the {what} in report.json take {size} bytes on record, more than {most}")


def stay_within(report: Report, places: Sequence[str]) -> None:
    """See to it that every output lies below one of `places`, URIs that end in `/`.

    Raises:
        Malformed: an output lies elsewhere.
    """
    for name, artifact in report.outputs.items():
        place = next((place for place in places if artifact.uri.startswith(place)), None)
        below = artifact.uri[len(place) :].removesuffix("/").split("/") if place else []
        if not below or any(part in ("", ".", "..") for part in below) or not artifact.uri.isprintable():
            raise Malformed(
                f"report.json names {clipped(artifact.uri, 300)!r} as {name}, which is outside of what this launch "
                f"may name: {', '.join(places)}"
            )


def _not_json(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} among the metrics")
    return number


def _text(value: Any) -> str:
    """Prose, cut to what the record holds; a lone surrogate would not encode."""
    return clipped(str(value))


def _report(record: dict[str, Any]) -> Report:
    return Report(
        run_id=str(record["run_id"]),
        stage=str(record["stage"]),
        attempt=int(record["attempt"]),
        launch_id=str(record["launch_id"]),
        outcome=Outcome(record["outcome"]),
        reason=_text(record.get("reason", "")),
        permanent=bool(record.get("permanent", False)),
        outputs={k: Artifact(str(v["uri"]), str(v.get("sha256", ""))) for k, v in record.get("outputs", {}).items()},
        metrics={k: _finite(v) for k, v in record.get("metrics", {}).items()},
        details=dict(record.get("details", {})),
        lineage={k: str(v) for k, v in record.get("lineage", {}).items()},
        started_at=float(record.get("started_at", 0.0)),
        finished_at=float(record.get("finished_at", 0.0)),
        format=int(record["format"]),
    )
