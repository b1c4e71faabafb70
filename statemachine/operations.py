"""What persons may ask: refused with the reason where the state forbids it, idempotent, with who and why on record."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from statemachine.contracts.errors import Conflict, OperationRefused, Unknown
from statemachine.contracts.limits import clipped
from statemachine.contracts.report import Artifact
from statemachine.contracts.stage import Stage
from statemachine.core.approval import barred, subject_digest, valid_approvals
from statemachine.core.model import Hold, Model
from statemachine.core.policy import Policy
from statemachine.core.reason import TransitionReason
from statemachine.core.run import Approval, OperatorRequest, RequestKind, Run, RunKind, Transition, Trigger, queued
from statemachine.core.states import State
from statemachine.core.window import Object, Status
from statemachine.intake import Intake
from statemachine.ports import Files, Hints
from statemachine.store import ATTEMPTS, AuditEntry, Store

NEEDS: Mapping[Stage, tuple[Stage, ...]] = {
    Stage.PREPROCESS: (),
    Stage.MATERIALISE: (Stage.PREPROCESS,),
    Stage.TRAIN: (Stage.PREPROCESS,),
    Stage.EVALUATE: (Stage.PREPROCESS, Stage.TRAIN),
    Stage.EXPORT: (Stage.PREPROCESS, Stage.TRAIN, Stage.EVALUATE),
    Stage.SHADOW: (Stage.PREPROCESS, Stage.TRAIN, Stage.EVALUATE, Stage.EXPORT),
    Stage.DEPLOY: (Stage.PREPROCESS, Stage.TRAIN, Stage.EVALUATE),
}


@dataclass(frozen=True)
class Operations:
    """Wishes on runs, and what a person may change on a model."""

    store: Store
    intake: Intake
    files: Files
    hints: Hints
    policies: Mapping[str, Policy]
    clock: Callable[[], float]
    new_id: Callable[[], str]

    # -- runs ---------------------------------------------------------------------------------------------------

    def operator_request(self, run_id: str, kind: RequestKind, who: str, why: str) -> Run:
        """Cancel or reject. Asking the same twice is once. Raises `OperationRefused`, `Unknown`."""
        if kind is RequestKind.APPROVE:
            raise OperationRefused(f"an approval names the digest of what it approves: `fraudloop approve {run_id}`")
        for _ in range(ATTEMPTS):
            run = self.store.run(run_id)
            if run.asks(kind):
                return run
            _allow(run, kind)
            try:
                operator_request = OperatorRequest(
                    kind, clipped(who), clipped(why), self.clock()
                )  # no longer than the record can hold
                updated = self.store.operator_request(run, operator_request, self.clock())
            except Conflict:
                continue
            self.hints.look_at([run_id])
            return updated
        raise Conflict("the run was not changed meanwhile", f"{run_id}: {ATTEMPTS} tries")

    def approve(self, run_id: str, digest: str, why: str, who: str) -> Run:
        """Say yes to exactly what `digest` names (`core.approval.subject_digest` of the run that the person saw).

        Saying yes twice is once. The approval is void as soon as anything of it changes.

        Raises:
            OperationRefused: the run does not wait for approval, the digest is of something else, what it names was
                changed in S3, or the policy wants another person.
        """
        for _ in range(ATTEMPTS):
            run, now = self.store.run(run_id), self.clock()
            policy = self._policy(run.model)
            _allow(run, RequestKind.APPROVE)
            self._still_the_same(run, digest)
            if reason := barred(run, policy, who):
                raise OperationRefused(reason)
            if any(one.who == who for one in valid_approvals(run, policy, now)):
                return run
            approval = Approval(clipped(who), clipped(why), now, digest)
            try:
                updated = self.store.approve(run, approval, now)
            except Conflict:
                continue
            self.hints.look_at([run_id])
            return updated
        raise Conflict("the run was not changed meanwhile", f"{run_id}: {ATTEMPTS} tries")

    def _still_the_same(self, run: Run, digest: str) -> None:
        """Raises `OperationRefused` unless `digest` names what the run would deploy, and S3 still holds it."""
        if not run.candidate:
            self.hints.look_at([run.id])
            raise OperationRefused(f"{run.id} has no exported version yet: it is made first, and then you are asked")
        if digest != (now := subject_digest(run)):
            raise OperationRefused(
                f"what you saw of {run.id} ({digest[:12] or 'no digest'}) is not what would be deployed now "
                f"({now[:12]}): look at it again with `fraudloop show {run.id}`"
            )
        for stage in (Stage.EVALUATE, Stage.EXPORT):
            for name, artifact in run.outputs.get(stage.value, {}).items():
                self._verify_artifact(f"{run.id}'s {stage.value} output {name}", artifact)

    def start(self, model: str, who: str, why: str) -> str:
        """Close the open window now, also when it is empty; the run begins as soon as nobody trains."""
        self._policy(model)
        _free(self.store.model(model))
        act = AuditEntry("start", who, why, self.clock())
        self.intake.ask(model, Trigger("person", who, why), "", act)
        run = self.intake.close_due(model)
        if run:
            self.hints.look_at([run.id])
        return run.id if run else ""

    def redrive(self, run_id: str, stage: Stage, who: str, why: str) -> Run:
        """A new run with `parent` that keeps the verified outputs before `stage`. Raises `OperationRefused`."""
        parent, model = self._redrivable(run_id, stage)
        run = self._child(parent, stage, who, why)
        entry = Transition(
            run.id, 1, self.clock(), "", State.QUEUED.value, TransitionReason.REDRIVE, f"of {run_id}: {why}", who=who
        )
        self.store.begin(run, replace(model, training=run.id), entry)
        self.hints.look_at([run.id])
        return run

    def reused(self, run_id: str, stage: Stage) -> dict[str, Mapping[str, Artifact]]:
        """The verified outputs by stage that a redrive from `stage` would keep. Raises what `redrive` raises."""
        return _kept(self._redrivable(run_id, stage)[0], stage)

    def _redrivable(self, run_id: str, stage: Stage) -> tuple[Run, Model]:
        parent = self.store.run(run_id)
        if not parent.state.terminal:
            raise OperationRefused(
                f"{run_id} is {parent.state.value}; only a terminal run can be redriven: cancel it first"
            )
        if parent.kind is RunKind.RESTORE or stage not in NEEDS:
            raise OperationRefused(f"{run_id} cannot be redriven from {stage.value}")
        for needed in NEEDS[stage]:
            self._verify(parent, needed)
        model = self.store.model(parent.model)
        _free(model)
        if model.training:
            raise OperationRefused(
                f"{model.training} is training {parent.model}; redrive when it has ended, or cancel it"
            )
        return parent, model

    def _child(self, parent: Run, stage: Stage, who: str, why: str) -> Run:
        kept = _kept(parent, stage)
        origin = parent.id.rpartition("-r")[0] if parent.trigger.kind == "redrive" else parent.id
        number = next(n for n in range(1, 1000) if self.store.load(f"{origin}-r{n}") is None)
        return queued(
            f"{origin}-r{number}",
            parent.model,
            parent.epoch,
            self.clock(),
            trigger=Trigger("redrive", who, why),
            parent=parent.id,
            start_at=stage,
            manifest=parent.manifest,
            pins=parent.pins if all(stage.value in parent.pins for stage in Stage) else {},
            outputs=kept,
            metrics=parent.metrics if kept else {},
            parameters=parent.parameters,
            parameters_by=parent.parameters_by,
            candidate=parent.candidate if Stage.EXPORT in NEEDS[stage] else "",
            champion=parent.champion,
            verdict=parent.verdict if Stage.EVALUATE in NEEDS[stage] else {},
        )

    def _verify(self, parent: Run, stage: Stage) -> None:
        outputs = parent.outputs.get(stage.value)
        if not outputs:
            raise OperationRefused(f"{parent.id} has no outputs of {stage.value}; redrive it from an earlier stage")
        for name, artifact in outputs.items():
            self._verify_artifact(f"{parent.id}'s {stage.value} output {name}", artifact)

    def _verify_artifact(self, what: str, artifact: Artifact) -> None:
        """It still exists, and its hash (of a folder: of its MANIFEST.json) is the one that was reported."""
        body = self.files.read(artifact.uri, 64 * 1024 * 1024)
        if body is None:
            body = self.files.read(f"{artifact.uri.rstrip('/')}/MANIFEST.json", 64 * 1024 * 1024)
        if body is None:
            raise OperationRefused(f"{what} is gone: {artifact.uri}; redrive from an earlier stage")
        if artifact.sha256 and hashlib.sha256(body).hexdigest() != artifact.sha256:
            raise OperationRefused(
                f"{what} was changed since it was reported: {artifact.uri}; redrive from an earlier stage"
            )

    def rollback(self, model: str, version: str, who: str, why: str) -> Run:
        """A restore run: it needs only the deploying slot, so it never waits for training."""
        self._policy(model)
        item = self.store.model(model)
        if item.deploying is not None:
            raise OperationRefused(f"{item.deploying.run_id} is deploying {model}; cancel it, or wait until it ends")
        if item.release_of(version) is None:
            known = [r.version for r in (item.champion, *item.predecessors) if r]
            raise OperationRefused(
                f"{version} is not a version that ever served {model}; known: {', '.join(known) or 'none'}"
            )
        generation, now = item.generation + 1, self.clock()
        run = queued(
            f"{model}-rollback-{generation}",
            model,
            0,
            now,
            kind=RunKind.RESTORE,
            trigger=Trigger("rollback", who, why),
            target=version,
        )
        entry = Transition(
            run.id, 1, now, "", State.QUEUED.value, TransitionReason.ROLLBACK, f"to {version}: {why}", who=who
        )
        self.store.begin(run, item.deployed_by(run.id, generation), entry)
        self.hints.look_at([run.id])
        return run

    # -- models -------------------------------------------------------------------------------------------------

    def hold(self, model: str, who: str, why: str) -> Model:
        """Nothing trains and nothing is promoted until it is released."""
        self._policy(model)
        held = Hold(who, why, self.clock())
        act = AuditEntry("hold", who, why, held.at)
        return self.store.change_model(model, lambda item: item if item.hold else replace(item, hold=held), act)

    def release(self, model: str, who: str, why: str) -> Model:
        """End the hold."""
        self._policy(model)
        act = AuditEntry("release", who, why, self.clock())
        return self.store.change_model(model, lambda item: replace(item, hold=None), act)

    def adopt(
        self, model: str, parameters: Mapping[str, Mapping[str, object]], provenance: Mapping[str, object]
    ) -> Model:
        """Sets the parameters of the next run (stage → name → value); `provenance` says where they are from."""
        self._policy(model)
        who, why = str(provenance.get("who", "")), str(provenance.get("why", ""))
        told = AuditEntry("adopt", who, why, self.clock(), str(provenance.get("uri", "")))
        return self.store.change_model(
            model, lambda item: replace(item, parameters=parameters, parameters_from=provenance), told
        )

    def reindex(self, model: str, who: str, why: str) -> Model:
        """The next run's manifest names every object on record, and its preprocess builds the index anew."""
        self._policy(model)
        act = AuditEntry("reindex", who, why, self.clock())
        return self.store.change_model(model, lambda item: replace(item, index=None, indexed=-1), act)

    # -- objects ------------------------------------------------------------------------------------------------

    def quarantine(self, model: str, key: str, who: str, why: str) -> Object:
        """Exclude the newest write of `key` from future runs."""
        found = self._newest(model, key)
        if found.status is not Status.QUARANTINED:
            act = AuditEntry("quarantine", who, why, self.clock(), key)
            self.intake.set_aside(model, found, f"by {who}: {why}", act)
        return found

    def release_object(self, model: str, key: str, who: str, why: str) -> Object:
        """A quarantined object joins the open window. Raises `OperationRefused` for one that is not quarantined."""
        found = self._newest(model, key)
        if found.status is not Status.QUARANTINED:
            raise OperationRefused(f"{key!r} is {found.status.value}, not quarantined")
        act = AuditEntry("release object", who, why, self.clock(), key)
        self.intake.rejoin(model, found, f"released by {who}: {why}", act)
        return found

    def _newest(self, model: str, key: str) -> Object:
        self._policy(model)
        found = self.intake.newest(model, key)
        if found is None:
            raise Unknown(f"{model} has no object {key!r} on record; `fraudloop quarantine list` shows what it has")
        return found

    def _policy(self, model: str) -> Policy:
        if model not in self.policies:
            raise Unknown(f"there is no model {model!r}; fraudloop.toml names {', '.join(self.policies)}")
        return self.policies[model]


def _kept(parent: Run, stage: Stage) -> dict[str, Mapping[str, Artifact]]:
    return {needed.value: parent.outputs[needed.value] for needed in NEEDS[stage]}


def _free(model: Model) -> None:
    if model.hold:
        held = f"{model.name} is on hold by {model.hold.who}: {model.hold.why}"
        raise OperationRefused(f"{held}; `fraudloop release {model.name}` first")


def _allow(run: Run, kind: RequestKind) -> None:
    """Raises `OperationRefused` where the state forbids the request."""
    if run.state.terminal:
        raise OperationRefused(f"{run.id} is over ({run.state.value}): {run.reason or 'nothing to do'}")
    if kind is RequestKind.CANCEL and run.state is State.ROLLING_BACK:
        raise OperationRefused(f"{run.id} is bringing the last good version back; that is not cancelled")
    if kind is not RequestKind.CANCEL and run.state is not State.AWAITING_APPROVAL:
        raise OperationRefused(
            f"{run.id} is {run.state.value}; only a run that is AWAITING_APPROVAL can be approved or rejected"
        )
    earlier = run.operator_request
    if earlier is not None and earlier.kind is not kind:
        raise OperationRefused(f"{earlier.who} asked {run.id} to {earlier.kind.value} already: {earlier.why}")
