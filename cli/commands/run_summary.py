"""A run's summary for the person on call: its state, what happened when and why, and who acts next. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from statemachine.contracts import paths
from statemachine.contracts.stage import Stage
from statemachine.core.approval import subject_digest, who_may_approve
from statemachine.core.model import Model
from statemachine.core.policy import Policy
from statemachine.core.run import Run, Transition
from statemachine.core.states import ACTIVE, State
from statemachine.core.window import Object
from statemachine.store import AuditEntry


@dataclass(frozen=True)
class Visit:
    """One stay in one state: when, how long (so far), and what ended it."""

    state: str
    at: float
    seconds: float
    attempt: int
    left_because: str
    who: str = ""


@dataclass(frozen=True)
class RunSummary:
    """What `fraudloop show` says. `links` are places to look, by what one finds there."""

    headline: str
    began: str
    visits: Sequence[Visit]
    checks: Sequence[Mapping[str, Any]]
    shadow: Sequence[Mapping[str, Any]]
    objects: Sequence[Object]
    following: str
    links: Mapping[str, str]
    acts: Sequence[AuditEntry] = ()


def tell(
    run: Run,
    history: Iterable[Transition],
    model: Model,
    policy: Policy,
    objects: Iterable[Object],
    now: float,
    ui: str = "",
    acts: Sequence[AuditEntry] = (),
) -> RunSummary:
    """The story of `run`, at `now`; `ui` is the base URL of KFP's pages, `acts` are what persons did to it."""
    entries = sorted(history, key=lambda entry: entry.version)
    return RunSummary(
        headline=_headline(run, model),
        began=_began(run),
        visits=visits(entries, now),
        checks=list(run.verdict.get("checks", [])),
        shadow=list(run.shadow.get("checks", [])),
        objects=[each for each in objects if each.epoch == run.epoch and run.epoch],
        following=_following(run, model, policy, now),
        links=_links(run, policy, ui),
        acts=acts,
    )


def visits(entries: Sequence[Transition], now: float) -> list[Visit]:
    """The history as stays: each entry ends one and begins the next; the last one lasts, unless the run rests."""
    stays = []
    for entry, after in zip_longest(entries, entries[1:]):
        rests = State(entry.dest).terminal
        until = after.at if after else entry.at if rests else now
        left = _because(after) if after else _because(entry) if rests else ""
        attempt = after.attempt if after else entry.attempt
        stays.append(Visit(entry.dest, entry.at, until - entry.at, attempt, left, after.who if after else ""))
    return stays


def _because(entry: Transition) -> str:
    """The reason in words, and the message if there is one."""
    return f"{entry.reason.words}: {entry.message}" if entry.message else entry.reason.words


def _headline(run: Run, model: Model) -> str:
    serving = model.champion.version if model.champion else ""
    serves = f"{serving} serves." if serving else "Nothing serves yet."
    match run.state:
        case State.SUCCEEDED:
            now = "it serves" if serving == (run.target or run.candidate) else f"{serving} serves now"
            return f"{run.target or run.candidate} was proven by requests to Triton and became the champion; {now}."
        case State.REJECTED:
            return f"Nothing was released: {run.reason or 'the answer was no'}. {serves}"
        case State.ROLLED_BACK:
            back = f"{run.target or serving} was brought back and serves"
            return f"{run.candidate} could not be released: {run.reason}. {back}."
        case State.FAILED:
            held = f" {model.name} is on hold: {model.hold.why}." if model.hold else ""
            return f"It could not be done: {run.reason}. {serves}{held}"
        case State.CANCELLED:
            return f"{run.reason or 'cancelled'}. {serves}"
        case State.QUEUED:
            return f"It has not begun: {run.reason or 'the next pass begins it'}."
        case State.AWAITING_APPROVAL:
            return "The gate and the shadow said yes; a person has to say yes too."
    return f"It is {run.state.value.lower()}, attempt {run.attempt}" + (f": {run.reason}." if run.reason else ".")


def _began(run: Run) -> str:
    why = f" ({run.trigger.why})" if run.trigger.why else ""
    by = f" by {run.trigger.by}" if run.trigger.by and run.trigger.kind != "arrival" else ""
    parent = f", after {run.parent}" if run.parent else ""
    return f"{run.trigger.kind}{by}{why}{parent}"


def _following(run: Run, model: Model, policy: Policy, now: float) -> str:
    """Who acts next, and what a person can do."""
    if run.operator_request is not None and not run.state.terminal:
        asked = run.operator_request
        return f"{asked.who} asked to {asked.kind.value} it ({asked.why}); the next pass acts on that."
    if run.state is State.AWAITING_APPROVAL:
        who = who_may_approve(run, policy, now)
        left = max(0.0, run.entered_at + policy.approval_deadline - now) / 3600
        ways = f"`fraudloop approve {run.id}` or `fraudloop reject {run.id}`"
        of = f"what they approve has the digest {subject_digest(run)}"
        return f"A person: {ways}; {who}; {of}; rejected by itself in {left:.1f} h."
    if run.state in ACTIVE:
        return _next_look(run, policy, now)
    if model.hold is not None:
        return f"A person: `fraudloop release {run.model}` when it is safe; until then nothing trains."
    if run.state is State.FAILED and run.outputs:
        return f"A person: `fraudloop redrive {run.id} --from {_failed_at(run)}`, or the next data begin a new run."
    return "Nobody: the next data, or the night, begin a new run."


def _next_look(run: Run, policy: Policy, now: float) -> str:
    if run.stage is None:
        return f"The controller looks again in {max(0.0, run.due_at - now):.0f} s."
    if run.retry_at > now:
        return f"Attempt {run.attempt} of {run.stage.value} begins in {run.retry_at - now:.0f} s."
    limits = policy.of(run.stage)
    return (
        f"KFP runs {run.stage.value}; the controller looks for its report every {policy.poll:.0f} s, or when told. "
        f"It has {limits.start_deadline:.0f} s to start and then {limits.run_deadline:.0f} s to finish."
    )


def _failed_at(run: Run) -> str:
    """The first stage that has not reported."""
    order = [Stage.PREPROCESS, Stage.TRAIN, Stage.EVALUATE, Stage.EXPORT, Stage.SHADOW, Stage.DEPLOY]
    return next((stage.value for stage in order if stage.value not in run.outputs), Stage.DEPLOY.value)


def _links(run: Run, policy: Policy, ui: str) -> dict[str, str]:
    links = {"files": f"{paths.run_folder(policy.root, run.id)}/"}
    if run.manifest:
        links["manifest"] = run.manifest
    if run.kfp_id:
        links["KFP run"] = f"{ui.rstrip('/')}/#/runs/details/{run.kfp_id}" if ui else run.kfp_id
    if page := run.output(Stage.EVALUATE, "report_html"):
        links["evaluation"] = page
    if page := run.output(Stage.SHADOW, "shadow"):
        links["shadow"] = page
    if repository := run.output(Stage.EXPORT, "repository"):
        links["repository"] = repository
    return links
