"""Messages and metrics of a history entry, as pure functions of the record.

Many people can read the chat, so anything that looks like a credential is masked, and long reasons are cut.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from statemachine.core.approval import subject_digest, who_may_approve
from statemachine.core.characters import UNSAFE
from statemachine.core.model import Model
from statemachine.core.policy import Policy
from statemachine.core.reason import TransitionReason
from statemachine.core.run import Run, RunKind, Transition
from statemachine.core.states import State
from statemachine.reporting.cost import run_cost
from statemachine.reporting.prices import LIST_PRICES, Prices
from statemachine.reporting.usage import control_use, stage_uses

LONGEST_REASON = 600
SECRET = re.compile(
    r"(?i)(?:AKIA|ASIA)[A-Z0-9]{16}"  # AWS access keys
    r"|\bBearer\s+\S+"
    r"|\beyJ[\w-]+\.[\w-]+\.[\w-]*"  # JSON web tokens
    r"|https?://hooks\.slack\.com/\S+"
    r"|(?<=://)[^\s/@:]+:[^\s/@]+(?=@)"  # user:password@
    r"|(?:X-Amz-(?:Signature|Credential|Security-Token)|password|passwd|secret|token|api[_-]?key)[\"']?\s*[=:]\s*\S+"
)
ENDS = {
    State.SUCCEEDED: "RunsSucceeded",
    State.REJECTED: "RunsRejected",
    State.FAILED: "RunsFailed",
    State.ROLLED_BACK: "RunsRolledBack",
    State.CANCELLED: "RunsCancelled",
}
QUALITY = {"auc_roc": "ModelAucRoc", "average_precision": "ModelAveragePrecision", "f1": "ModelF1"}
SHOWN = {"auc_roc": "AUC", "average_precision": "AP", "f1": "F1"}


@dataclass(frozen=True)
class MetricSample:
    """One value for CloudWatch, under the catalogue's name and dimensions."""

    name: str
    value: float
    dimensions: Mapping[str, str]


def metric_samples(
    entry: Transition, run: Run, history: Iterable[Transition] = (), prices: Prices = LIST_PRICES
) -> Iterator[MetricSample]:
    """The metrics of this history entry; `history` is read only for an entry that ends the run."""
    source, dest = _state(entry.source), State(entry.dest)
    model = {"model": run.model}
    if source is State.QUEUED and not dest.terminal:
        yield MetricSample("RunsStarted", 1, model)
    if source and source.stage:
        yield from _of_stage(entry, {**model, "stage": source.stage.value})
    if not dest.terminal:
        return
    yield MetricSample(ENDS[dest], 1, model)
    yield MetricSample("RunDuration", entry.at - run.created_at, model)
    if source is State.ROLLING_BACK and dest is State.FAILED:
        yield MetricSample("RestoreFailed", 1, model)
    if spent := _spent(run, history, prices):
        yield MetricSample("RunCost", spent, model)
    if dest is State.SUCCEEDED and run.kind is RunKind.TRAINING:
        yield from (MetricSample(name, run.metrics[key], model) for key, name in QUALITY.items() if key in run.metrics)


def _of_stage(entry: Transition, dimensions: Mapping[str, str]) -> Iterator[MetricSample]:
    reported = entry.details.get("metrics") or {}
    if (seconds := reported.get(f"pod_seconds.{dimensions['stage']}")) is not None:
        yield MetricSample("StageDuration", seconds, dimensions)
    for key, name in (("objects_accepted", "ObjectsAccepted"), ("objects_quarantined", "ObjectsQuarantined")):
        if key in reported:
            yield MetricSample(name, reported[key], {"model": dimensions["model"]})
    if entry.reason is TransitionReason.RETRYABLE_FAILURE:
        yield MetricSample("StageRetried", 1, dimensions)
    if entry.reason is TransitionReason.OVERDUE:
        yield MetricSample("StageOverdue", 1, dimensions)
    if stuck := entry.details.get("stuck"):
        yield MetricSample("LaunchesStuck", len(stuck), dimensions)


def _spent(run: Run, history: Iterable[Transition], prices: Prices) -> float:
    """The run's marginal cost, as `fraudloop cost` shows it."""
    entries = tuple(history)
    return run_cost(stage_uses(entries), control_use(run, entries), prices, 1.0).marginal if entries else 0.0


def message(
    entry: Transition, run: Run, model: Model, kfp_ui: str = "", console: str = "", policy: Policy | None = None
) -> str:
    """The message for Slack, in its markup; "" for an entry that needs none.

    `console` is the web console's base URL, `policy` the model's, if they are known.
    """
    source, dest = _state(entry.source), State(entry.dest)
    text = _text(entry, run, model, source, dest)
    if not text:
        return ""
    if dest is State.AWAITING_APPROVAL:
        return text + _asked(entry, run, console, policy)
    return text + (_link(entry, kfp_ui) if dest in (State.FAILED, State.ROLLED_BACK) else "")


def _text(entry: Transition, run: Run, model: Model, source: State | None, dest: State) -> str:
    reason = _data(entry.message) or "no reason is on record"
    serving = f"{_data(model.champion.version)} serves." if model.champion else "Nothing serves yet."
    run_id, name, candidate = _data(run.id), _data(run.model), _data(run.candidate)
    match dest:
        case State.SUCCEEDED if run.kind is RunKind.RESTORE:
            return f"*{run_id}*: {_data(run.target)} serves {name} again, as {_who(run)} asked, proven by requests."
        case State.SUCCEEDED:
            return f"*{run_id} deployed*: {candidate} serves {name}, proven by requests. {_compared(run, model)}"
        case State.REJECTED:
            return f"*{run_id} refused* ({_stage(source)}): {reason}. {serving}"
        case State.ROLLED_BACK:
            return f"*{run_id} rolled back*: {candidate} did not come up: {reason}. {serving}"
        case State.FAILED if source is State.ROLLING_BACK:
            return f"<!channel> *{name} is on hold*: {run_id} could not bring the last good version back: {reason}."
        case State.FAILED:
            return f"*{run_id} failed* in {_stage(source)}, attempt {entry.attempt}: {reason}. {serving}"
        case State.CANCELLED:
            return f"*{run_id} cancelled* ({_stage(source)}): {reason}. {serving}"
        case State.AWAITING_APPROVAL:
            return f"*{run_id} waits for approval*: `fraudloop approve {run_id}`. {_compared(run, model)}{_tried(run)}"
        case _ if source is State.QUEUED:
            why = _data(f"{run.trigger.kind} {run.trigger.why}".strip())
            return f"*{run_id} started* ({why})."
    return ""


def _compared(run: Run, model: Model) -> str:
    """`AUC 0.974 (champion 0.970), …`; the champion is the version that the gate compared with."""
    former = model.release_of(run.champion) if run.champion else None
    parts = []
    for key, name in SHOWN.items():
        if key in run.metrics:
            beside = f" (champion {former.metrics[key]:.3f})" if former and key in former.metrics else ""
            parts.append(f"{name} {run.metrics[key]:.3f}{beside}")
    against = f" against {_data(former.version)}" if former else ", the first version"
    return f"{', '.join(parts)}{against}." if parts else ""


def _tried(run: Run) -> str:
    """What the shadow said, in a sentence; "" if there was none."""
    if not run.shadow:
        return ""
    checks = {str(check["name"]): check for check in run.shadow.get("checks", ())}
    shown = [str(checks[name].get("note", "")) for name in ("control", "alerts", "disagreement") if name in checks]
    return _data(f" Shadow: {'; '.join([str(run.shadow.get('outcome', '')), *shown])}.")


def _asked(entry: Transition, run: Run, console: str, policy: Policy | None) -> str:
    """Who may act, on what, and where."""
    who = who_may_approve(run, policy, entry.at) if policy else ""
    page = f" <{console.rstrip('/')}/runs/{quote(run.id, safe='')}|Look and decide>" if console else ""
    said = _data(f" {who[0].upper()}{who[1:]}.") if who else ""
    return f" {said} Digest {subject_digest(run)[:12]}.{page}".replace("  ", " ")


def _link(entry: Transition, kfp_ui: str) -> str:
    if not kfp_ui or not entry.kfp_id or entry.kfp_id.startswith("arn:"):
        return ""
    return f" <{kfp_ui.rstrip('/')}/#/runs/details/{quote(entry.kfp_id, safe='')}|KFP run>"


def _who(run: Run) -> str:
    return _data(run.trigger.by) or "somebody"


def _stage(state: State | None) -> str:
    return state.stage.value if state and state.stage else (state.value.lower() if state else "intake")


def _state(name: str) -> State | None:
    return State(name) if name else None


def _data(text: str) -> str:
    return escaped(redacted(text))


def redacted(text: str) -> str:
    """The text with credentials masked, cut to the length of a message."""
    clean = SECRET.sub("[masked]", text)
    return clean if len(clean) <= LONGEST_REASON else clean[: LONGEST_REASON - 1] + "…"


def escaped(text: str) -> str:
    """The text on one line, with everything escaped that Slack would interpret: mentions, links, code, line breaks."""
    line = " ".join(UNSAFE.sub(" ", text).split())
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("`", "'")
