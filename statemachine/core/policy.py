"""What one model is configured to do: the parsed `[models.<name>]` table of `fraudloop.toml`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from statemachine.contracts.errors import Misconfigured
from statemachine.contracts.gate import GatePolicy
from statemachine.contracts.object_kind import ObjectKind
from statemachine.contracts.shadow import ShadowPolicy
from statemachine.contracts.stage import Stage
from statemachine.contracts.tables import read_table

TABLES = ("policy", "intake", "gate", "shadow", "approval", "serving", "stages", "parameters")
TOP = ("prefix", "labels_prefix", "engine", "strict")  # keys of the model's own table
NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")


@dataclass(frozen=True)
class IntakePolicy:
    """When a window closes, and what may enter it. Seconds, counts, bytes."""

    quiet_period: float = 300
    max_wait: float = 1800
    max_objects: int = 20_000
    success_marker: str = "_SUCCESS"
    max_object_bytes: int = 5 * 1024**3


@dataclass(frozen=True)
class StagePolicy:
    """Seconds from launch to `started.json`, and from there to `report.json`."""

    start_deadline: float = 900
    run_deadline: float = 3600


@dataclass(frozen=True)
class Serving:
    """Where a model serves: the Argo CD Application, and the headless Service whose pods are asked."""

    application: str = ""
    application_namespace: str = "argocd"
    namespace: str = "triton"
    service: str = ""
    timeout_seconds: float = 540


@dataclass(frozen=True)
class ApprovalPolicy:
    """Who must say yes where the policy asks for it: so many `approvers`; `separate`: none who started the run or set
    its parameters. A yes counts for `expiry` seconds.
    """

    approvers: int = 1
    separate: bool = False
    expiry: float = 172_800


@dataclass(frozen=True)
class Policy:
    """Everything `decide` may know about a model beyond the run itself. `root` is `s3://<artifacts bucket>`.

    Objects under `prefix` are transactions, those under `labels_prefix` reports of fraud (default: `labels/<model>/`).

    Seconds: a launch that stays CANCELING for `cancel_deadline` counts as over; a run that KFP or S3 refuses for
    `denied_deadline` fails. It fails, too, after `max_lapsed` claims in succession whose holder died. A deploy's proof
    counts for `proof_age`. `live`: the model is scored live, so each run brings the online store up to its data set.
    """

    model: str
    prefix: str
    labels_prefix: str = ""
    root: str = "s3://artifacts"
    engine: str = "kfp"
    strict: bool = False
    max_attempts: int = 3
    backoff_base: float = 30
    backoff_cap: float = 900
    poll: float = 60
    stop_poll: float = 10
    grace: float = 150
    cancel_deadline: float = 3600
    denied_deadline: float = 21_600
    max_lapsed: int = 5
    proof_age: float = 21_600
    require_approval: bool = False
    approval_deadline: float = 172_800
    keep_versions: int = 5
    skip_unchanged_night: bool = True
    live: bool = False
    intake: IntakePolicy = IntakePolicy()
    gate: GatePolicy = field(default_factory=GatePolicy)
    shadow: ShadowPolicy = field(default_factory=ShadowPolicy)
    approval: ApprovalPolicy = ApprovalPolicy()
    serving: Serving = Serving()
    stages: Mapping[Stage, StagePolicy] = field(default_factory=dict)
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.labels_prefix:
            object.__setattr__(self, "labels_prefix", f"labels/{self.model}/")

    @property
    def prefixes(self) -> dict[str, ObjectKind]:
        """What lies under each of the model's prefixes, sorted by them."""
        kinds = {self.prefix: ObjectKind.DATA, self.labels_prefix: ObjectKind.LABELS}
        return dict(sorted(kinds.items()))

    def of(self, stage: Stage) -> StagePolicy:
        """That stage's deadlines."""
        return self.stages.get(stage, StagePolicy())


def parse(tables: Mapping[str, Any], root: str) -> dict[str, Policy]:
    """The policies in a parsed `fraudloop.toml`, by model name.

    Raises:
        Misconfigured: a table, key or value is not what it should be; the message names it.
    """
    models = tables.get("models")
    if not isinstance(models, Mapping) or not models:
        raise Misconfigured("fraudloop.toml names no model: it needs at least one [models.<name>] table")
    policies = {name: _policy(name, table, root) for name, table in models.items()}
    prefixes = sorted(prefix for policy in policies.values() for prefix in (policy.prefix, policy.labels_prefix))
    for one, other in pairwise(prefixes):
        if other.startswith(one):
            why = "an object would belong to two models, or be transactions and labels at once"
            raise Misconfigured(f"the prefixes {one!r} and {other!r} overlap: {why} (prefix, labels_prefix)")
    return policies


def _policy(name: str, table: Mapping[str, Any], root: str) -> Policy:
    where = f"models.{name}"
    if not NAME.fullmatch(name) or name.endswith("-rollback"):
        raise Misconfigured(f"{where}: a model's name matches {NAME.pattern} and does not end in -rollback")
    _must_be_tables(where, table)
    if not table.get("prefix"):
        raise Misconfigured(f"{where}.prefix is missing: the S3 prefix whose objects belong to this model")
    stages = {
        _stage(where, key): read_table(StagePolicy, value, f"{where}.stages.{key}")
        for key, value in table.get("stages", {}).items()
    }
    top = {key: table[key] for key in TOP if key in table}
    return read_table(
        Policy,
        {**top, **table.get("policy", {})},
        f"{where}.policy",
        model=name,
        root=root,
        intake=read_table(IntakePolicy, table.get("intake", {}), f"{where}.intake"),
        gate=read_table(GatePolicy, table.get("gate", {}), f"{where}.gate"),
        shadow=_shadow(f"{where}.shadow", table.get("shadow", {})),
        approval=_approval(f"{where}.approval", table.get("approval", {})),
        serving=read_table(Serving, table.get("serving", {}), f"{where}.serving"),
        stages=stages,
        parameters=_parameters(where, table),
    )


def _shadow(where: str, table: Mapping[str, Any]) -> ShadowPolicy:
    """Fewer requests than are compared would make every verdict "insufficient", which passes."""
    policy = read_table(ShadowPolicy, table, where)
    if not 1 <= policy.min_requests <= policy.requests:
        raise Misconfigured(f"{where}: min_requests is at least 1, and at most requests ({policy.requests})")
    return policy


def _approval(where: str, table: Mapping[str, Any]) -> ApprovalPolicy:
    policy = read_table(ApprovalPolicy, table, where)
    if policy.approvers < 1 or policy.expiry <= 0:
        raise Misconfigured(f"{where}: approvers is at least 1, and expiry is more than 0 seconds")
    return policy


def _must_be_tables(where: str, table: Any) -> None:
    parts = {where: table}
    if isinstance(table, Mapping):
        parts |= {f"{where}.{name}": table.get(name, {}) for name in TABLES}
    for name, part in parts.items():
        if not isinstance(part, Mapping):
            raise Misconfigured(f"{name} is {part!r}; it takes a table, [{name}]")
    known = {*TOP, *TABLES, "data"}
    if unknown := sorted(table.keys() - known):
        raise Misconfigured(f"{where}: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}")


def _parameters(where: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """The stages' parameters; `data`, which declares the columns, is one of preprocess, which checks what it says."""
    parameters, data = dict(table.get("parameters", {})), table.get("data")
    if data is None:
        return parameters
    if not isinstance(data, Mapping):
        raise Misconfigured(f"{where}.data is {data!r}; it takes a table, or the name of a TOML file that holds it")
    preprocess = parameters.get(Stage.PREPROCESS.value, {})
    if "data" in preprocess:
        raise Misconfigured(f"{where}.data and {where}.parameters.preprocess.data: give one of them")
    return {**parameters, Stage.PREPROCESS.value: {**preprocess, "data": dict(data)}}


def _stage(where: str, key: str) -> Stage:
    try:
        return Stage(key)
    except ValueError:
        raise Misconfigured(f"{where}.stages.{key}: stages are {', '.join(s.value for s in Stage)}") from None
