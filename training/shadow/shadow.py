"""The shadow stage: candidate and champion are loaded on the serving image and asked the same recent requests.

Control first: the champion must repeat its own answers on record, or the comparison says nothing of the candidate. The
stage measures; the controller judges (`statemachine.contracts.shadow`).
"""

import json
import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tritonclient.utils import InferenceServerException

from statemachine.contracts import paths
from statemachine.contracts.shadow import FORMAT
from statemachine.contracts.stage_request import StageRequest
from training import storage
from training.data.schema import loads
from training.integrity import Tampered
from training.outcome import Permanent, StageResult
from training.serving.fetch import fetch
from training.shadow import comparison
from training.shadow.replay import Answers, ask_all, contributions
from training.shadow.requests import SCORED, ReplayRequest, Sampled, exported, fitting, logged
from training.shadow.server import DoesNotLoad, PodServer

LOG = logging.getLogger("fraudloop.shadow")
NOTHING: Mapping[str, Any] = {
    "source": "",
    "requests": 0,
    "control": None,
    "champion": None,
    "compared": 0,
    "psi": None,
    "disagreements": 0,
    "segments": [],
    "changes": [],
}
SCHEMA = f"{SCORED}/1/model/schema.json"  # in a repository


@dataclass(frozen=True)
class ShadowRequest:
    """The parameters of a shadow order: how many requests of how many days, from how many on they say anything, and the
    control's tolerance.
    """

    candidate: str
    champion: str
    root: str
    model: str
    requests: int
    min_requests: int
    log_days: float
    tolerance: float


def shadow(order: StageRequest) -> StageResult:
    """The work of the shadow stage (docs/contracts.md).

    Raises:
        Permanent: the order is incomplete, the candidate's files were changed, or the image has no Triton.
        Transient: a server was killed or not ready in time.
    """
    request = shadow_request(order)
    with tempfile.TemporaryDirectory(prefix="fraudloop-shadow-") as scratch, ExitStack() as stack:
        figures = measured(request, Path(scratch), stack)
    uri = storage.join(order.output_uri, "shadow.json")
    storage.write_json(uri, figures)
    metrics = {
        f"shadow_{name}": float(figures[name])
        for name in ("requests", "compared", "psi", "disagreements")
        if figures.get(name) is not None
    }
    return StageResult({"shadow": uri}, metrics, {"shadow": figures})


def shadow_request(order: StageRequest) -> ShadowRequest:
    """Parses an order. Raises Permanent."""
    try:
        return ShadowRequest(
            candidate=order.inputs["repository"].rstrip("/"),
            champion=order.inputs.get("champion", "").rstrip("/"),
            root=paths.root_of(order.output_uri, order.run_id),
            model=order.model,
            requests=int(order.parameters["requests"]),
            min_requests=int(order.parameters.get("min_requests", 1)),  # an order of the release before has none
            log_days=float(order.parameters["log_days"]),
            tolerance=float(order.parameters["tolerance"]),
        )
    except KeyError as error:
        raise Permanent(f"the shadow order lacks {error}") from error


def measured(request: ShadowRequest, scratch: Path, stack: ExitStack) -> dict[str, Any]:
    """`details.shadow`. The champion's server starts once the candidate's is ready: a failure costs no other."""
    ours, theirs = _name(request.candidate), _name(request.champion)
    figures = {"format": FORMAT, **NOTHING}
    candidate = _begun(request.candidate, scratch / "candidate", stack)
    try:
        candidate.wait_ready()
    except DoesNotLoad as error:
        tried = comparison.tried(ours, None, error=str(error))
        return {**figures, "candidate": tried, "champion": comparison.tried(theirs, None) if theirs else None}
    if not theirs:
        return {**figures, **_alone(request, candidate, ours)}
    champion = _begun(request.champion, scratch / "champion", stack, only=SCORED)
    stack.callback(candidate.terminate)  # both end at the same time
    try:
        champion.wait_ready()
    except DoesNotLoad as error:
        alone = _alone(request, candidate, ours)
        return {**figures, **alone, "champion": comparison.tried(theirs, None, error=str(error))}
    return {**figures, **_both(request, candidate, champion)}


def _begun(uri: str, folder: Path, stack: ExitStack, only: str = "") -> PodServer:
    """The server of a version, started; its files are compared with the version's manifest first."""
    try:
        repository = fetch(uri, folder / "repository")
    except (Tampered, FileNotFoundError) as error:
        raise Permanent(f"{_name(uri)} cannot be tried: {error}") from error
    LOG.info("starting", extra={"version": _name(uri)})
    return stack.enter_context(PodServer(repository, folder / "server", only))


def _name(uri: str) -> str:
    return uri.rpartition("/")[2]


def _alone(request: ShadowRequest, candidate: PodServer, version: str) -> dict[str, Any]:
    """Without a champion: does it answer, and how fast."""
    sampled = exported(request.candidate, request.requests)
    answers = ask_all(candidate, sampled.requests)
    return {
        "source": sampled.source,
        "requests": len(sampled.requests),
        "candidate": comparison.tried(version, answers),
    }


def _both(request: ShadowRequest, candidate: PodServer, champion: PodServer) -> dict[str, Any]:
    controlled, sampled = _sampled(request, candidate, champion)
    repeated = ask_all(champion, controlled.requests)
    same = controlled is sampled
    theirs = repeated if same else ask_all(champion, sampled.requests)
    ours = ask_all(candidate, sampled.requests)
    data = loads(storage.read_bytes(str(candidate.repository / SCHEMA))).data
    return {
        "source": sampled.source,
        "requests": len(sampled.requests),
        "control": {
            "source": controlled.source,
            **comparison.control(controlled.requests, repeated, request.tolerance),
        },
        "candidate": comparison.tried(_name(request.candidate), ours, sampled.per_day),
        "champion": comparison.tried(_name(request.champion), theirs, sampled.per_day),
        **comparison.beside(ours, theirs),
        "segments": comparison.segments(sampled.requests, ours, theirs, data),
        "changes": list(_changes(sampled.requests, ours, theirs, candidate, champion)),
    }


def _sampled(request: ShadowRequest, candidate: PodServer, champion: PodServer) -> tuple[Sampled, Sampled]:
    """What the champion is controlled with, and what both are asked.

    Both are the log's requests if it has at least `min_requests` that either takes; a candidate of another definition
    takes none, and where fewer are logged each version has its own test rows.
    """
    count, theirs = request.requests, _name(request.champion)
    recent = logged(request.root, request.model, theirs, time.time(), request.log_days, count) if request.root else None
    if recent and recent.requests and len(recent.requests) >= request.min_requests:
        fit = fitting(recent.requests, candidate.config(SCORED))
        if len(fit) == len(recent.requests):
            return recent, recent
        return recent, exported(request.candidate, count)
    ours = exported(request.candidate, count)
    taken = Sampled(ours.source, fitting(ours.requests, champion.config(SCORED)))
    return exported(request.champion, count), taken if taken.requests else ours


def _changes(
    requests: Sequence[ReplayRequest], ours: Answers, theirs: Answers, candidate: PodServer, champion: PodServer
) -> list[dict[str, Any]]:
    found, servers = [], {"candidate": candidate, "champion": champion}
    for number in comparison.largest_changes(ours, theirs):
        reasons = {role: _reasons(server, requests[number]) for role, server in servers.items()}
        found.append(comparison.change(number, ours, theirs, reasons))
    return found


def _reasons(server: PodServer, request: ReplayRequest) -> list[str]:
    try:
        values = contributions(server, request)
    except (InferenceServerException, OSError) as error:
        return [f"not known: {type(error).__name__}"]
    return comparison.strongest(values, _shapley_names(server.config(SCORED)))


def _shapley_names(config: Mapping[str, Any]) -> list[str]:
    names: list[str] = json.loads(config["parameters"]["shapley_names"]["string_value"])
    return names
