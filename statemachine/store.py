"""Runs, models and history in the table: every write has a condition, and every clause of it a name."""

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from statemachine.contracts.errors import Conflict, Unknown
from statemachine.core import codec
from statemachine.core.model import Model
from statemachine.core.run import Approval, Claim, OperatorRequest, Run, Transition
from statemachine.ports import SHARDS, Clause, Item, Key, Put, Table

KEEP_HISTORY = 400 * 86_400
ATTEMPTS = 8
DEPLOYMENT = Key("DEPLOYMENT", "DEPLOYMENT")


def run_key(run_id: str) -> Key:
    """Where a run is kept."""
    return Key(f"RUN#{run_id}", "RUN")


def model_key(name: str) -> Key:
    """Where a model is kept."""
    return Key(f"MODEL#{name}", "MODEL")


def put_run(run: Run, writer: str) -> Put:
    """The run as an item, on condition that it was not changed since it was read (or, at version 1, is new)."""
    item: dict[str, Any] = {
        "type": "run",
        "format": codec.FORMAT,
        "version": run.version,
        "writer": writer,
        "model": run.model,
        "state": run.state.value,
        "reason": run.reason,
        "body": codec.dumps(run),
    }
    if not run.state.terminal:
        item |= {"due_shard": f"DUE#{zlib.crc32(run.id.encode()) % SHARDS}", "due_at": run.due_at, "run_id": run.id}
    return Put(run_key(run.id), item, _unchanged("the run was not changed meanwhile", run.version))


def put_model(model: Model, writer: str) -> Put:
    """The model as an item, on condition that it was not changed since it was read."""
    item = {
        "type": "model",
        "format": codec.FORMAT,
        "version": model.version,
        "writer": writer,
        "model": model.name,
        "training": model.training,
        "champion": model.champion.version if model.champion else "",
        "body": codec.dumps(model),
    }
    return Put(model_key(model.name), item, _unchanged("the model was not changed meanwhile", model.version))


def put_transition(entry: Transition, run: Run, writer: str) -> Put:
    """A history entry. There is one per version, so two passes never record the same transition."""
    item = {
        "type": "entry",
        "format": codec.FORMAT,
        "writer": writer,
        "model": run.model,
        "run_id": run.id,
        "expires_at": int(entry.at + KEEP_HISTORY),
        "body": codec.dumps(entry),
    }
    return Put(Key(f"RUN#{run.id}", f"HISTORY#{entry.version:08d}"), item, Clause("the transition is recorded once"))


def put_index(run: Run, writer: str) -> Put:
    """The run's place in its model's list."""
    key = Key(f"MODEL#{run.model}", f"RUN#{run.created_at:014.3f}#{run.id}")
    return Put(key, {"type": "index", "writer": writer, "run_id": run.id}, Clause("the run is new"))


@dataclass(frozen=True)
class AuditEntry:
    """What a person did to a model, who it was and why; `on` is the run, version or object key that it was done to."""

    what: str
    who: str
    why: str
    at: float
    on: str = ""


def put_audit_entry(model: Model, act: AuditEntry, writer: str) -> Put:
    """A line of the model's own history, in the transaction of the change."""
    item = {"type": "told", "format": codec.FORMAT, "writer": writer, "model": model.name, "body": codec.dumps(act)}
    return Put(Key(f"MODEL#{model.name}", f"TOLD#{model.version:08d}"), item, Clause("the change is recorded once"))


def put_act(model: str, act: AuditEntry, writer: str) -> Put:
    """A person's act that changes no model item, in the transaction of what it changes."""
    item = {"type": "act", "format": codec.FORMAT, "writer": writer, "model": model, "body": codec.dumps(act)}
    return Put(Key(f"MODEL#{model}", f"ACT#{act.at:014.3f}#{writer}"), item, Clause("the act is recorded once"))


def _unchanged(name: str, version: int) -> Clause:
    return Clause(name, "version", version - 1) if version > 1 else Clause(f"{name}: it is new")


def read_run(item: Item) -> Run:
    """The run in an item. Raises `Malformed`."""
    return codec.loads(Run, str(item["body"]), int(item.get("format", 0)))


@dataclass(frozen=True)
class Store:
    """The record of runs and models. `new_id` draws the token that marks our own writes."""

    table: Table
    new_id: Callable[[], str]

    def load(self, run_id: str) -> Run | None:
        """The run as it stands."""
        item = self.table.get(run_key(run_id))
        return read_run(item) if item else None

    def run(self, run_id: str) -> Run:
        """The run as it stands. Raises `Unknown`."""
        run = self.load(run_id)
        if run is None:
            raise Unknown(f"there is no run {run_id!r}; `fraudloop runs` lists them")
        return run

    def model(self, name: str) -> Model:
        """The stored model; an empty `Model` if there is no item."""
        item = self.table.get(model_key(name))
        return codec.loads(Model, str(item["body"]), int(item.get("format", 0))) if item else Model(name)

    def history(self, run_id: str) -> Iterator[Transition]:
        """The run's history, oldest first."""
        for item in self.table.query(f"RUN#{run_id}", "HISTORY#"):
            yield codec.loads(Transition, str(item["body"]), int(item.get("format", 0)))

    def model_acts(self, model: str) -> Iterator[AuditEntry]:
        """What operators did to the model item, oldest first."""
        return self._audit_entries(model, "TOLD#")

    def acts(self, model: str) -> Iterator[AuditEntry]:
        """What operators did to the model's runs, window and objects, oldest first."""
        return self._audit_entries(model, "ACT#")

    def _audit_entries(self, model: str, prefix: str) -> Iterator[AuditEntry]:
        for item in self.table.query(f"MODEL#{model}", prefix):
            yield codec.loads(AuditEntry, str(item["body"]), int(item.get("format", 0)))

    def runs(self, model: str, limit: int = 50) -> Iterator[Run]:
        """The model's runs, newest first."""
        for count, item in enumerate(self.table.query(f"MODEL#{model}", "RUN#", newest_first=True)):
            if count >= limit:
                return
            run = self.load(str(item["run_id"]))
            if run:
                yield run

    def deployment(self) -> str:
        """Who this table's runs belong to: 8 hex digits, drawn once a table. Another table is another deployment."""
        for _ in range(ATTEMPTS):
            if item := self.table.get(DEPLOYMENT):
                return str(item["id"])
            writer = self.new_id()
            drawn = {"type": "deployment", "format": codec.FORMAT, "writer": writer, "id": writer[-8:]}
            try:
                self.table.write(Put(DEPLOYMENT, drawn, Clause("the deployment has no id yet")))
            except Conflict:
                continue
        raise Conflict("the deployment has no id yet", f"{ATTEMPTS} tries to read or draw it")

    # -- writes: each bumps the version and conditions on it --------------------------------------------------

    def begin(self, run: Run, model: Model, entry: Transition, *more: Put) -> None:
        """A new run of this deployment, with whatever makes it so, in one transaction. `model` is the changed model."""
        writer, run = self.new_id(), replace(run, deployment=self.deployment())
        puts = [put_run(run, writer), put_transition(entry, run, writer), put_index(run, writer), *more]
        self.table.write(*puts, put_model(replace(model, version=model.version + 1), writer))

    def move(self, run: Run, model: Model, before: Model, entry: Transition) -> None:
        """A decided move: run, history and (if changed) model, all or nothing. `run` has its new version."""
        writer = self.new_id()
        puts = [put_run(run, writer), put_transition(entry, run, writer)]
        if model != before:
            puts.append(put_model(replace(model, version=before.version + 1), writer))
        self.table.write(*puts)

    def claim(self, run: Run, owner: str, until: float, **changes: Any) -> Run:
        """Claim the run until then. Raises `Conflict` if it was changed or claimed meanwhile.

        An existing claim belonged to a holder that died. `lapsed` counts those; what the holder did is unknown.
        """
        lapsed = run.lapsed + (run.claim is not None)
        claim = Claim(owner, until)
        claimed = replace(run, version=run.version + 1, claim=claim, due_at=until, lapsed=lapsed, **changes)
        self.table.write(put_run(claimed, self.new_id()))
        return claimed

    def release(self, run_id: str, owner: str, changes: Mapping[str, Any]) -> Run:
        """Release the claim, if it is still ours, and store `changes`. An operator request may have come meanwhile."""
        for _ in range(ATTEMPTS):
            run = self.run(run_id)
            if run.claim is None or run.claim.owner != owner:
                raise Conflict("the claim is still ours", f"{run_id} is claimed by {run.claim}")
            freed = replace(run, version=run.version + 1, claim=None, lapsed=0, **changes)
            try:
                self.table.write(put_run(freed, self.new_id()))
            except Conflict:
                continue
            return freed
        raise Conflict("the run was not changed meanwhile", f"{run_id} changed {ATTEMPTS} times while it was released")

    def defer(self, run: Run, due_at: float, reason: str, **changes: Any) -> None:
        """Make the run due at `due_at`. `changes` are stored; `unreachable_count` becomes 0 unless they set it."""
        found = {"unreachable_count": 0, **changes}
        later = replace(run, version=run.version + 1, due_at=due_at, reason=reason or run.reason, **found)
        self.table.write(put_run(later, self.new_id()))

    def operator_request(self, run: Run, operator_request: OperatorRequest, now: float) -> Run:
        """Record an operator's request; the run is due now."""
        updated = replace(
            run, version=run.version + 1, operator_request=operator_request, due_at=min(run.due_at or now, now)
        )
        asked, writer = operator_request, self.new_id()
        act = AuditEntry(asked.kind.value, asked.who, asked.why, asked.at, run.id)
        self.table.write(put_run(updated, writer), put_act(run.model, act, writer))
        return updated

    def approve(self, run: Run, approval: Approval, now: float) -> Run:
        """Add an approval to the run, in place of an earlier one of the same person; the run is due now."""
        others = tuple(one for one in run.approvals if one.who != approval.who)
        updated = replace(
            run, version=run.version + 1, approvals=(*others, approval), due_at=min(run.due_at or now, now)
        )
        writer = self.new_id()
        act = AuditEntry("approve", approval.who, approval.why, approval.at, run.id)
        self.table.write(put_run(updated, writer), put_act(run.model, act, writer))
        return updated

    def change_model(self, name: str, change: Callable[[Model], Model], act: AuditEntry | None = None) -> Model:
        """Change the model by a function of what it is now, and say who did. `change` may raise to refuse."""
        for _ in range(ATTEMPTS):
            before = self.model(name)
            after = change(before)
            if after == before:
                return before
            after, writer = replace(after, version=before.version + 1), self.new_id()
            puts = [put_model(after, writer), *([put_audit_entry(after, act, writer)] if act else [])]
            try:
                self.table.write(*puts)
            except Conflict:
                continue
            return after
        raise Conflict("the model was not changed meanwhile", f"{name} changed {ATTEMPTS} times")
