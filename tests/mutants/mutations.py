"""Safety properties, each broken on purpose by one textual patch of a copy of the source."""

from dataclasses import dataclass

CORE = "statemachine/core"


@dataclass(frozen=True)
class Mutant:
    """In `file`, `old` (which must be there exactly once) becomes `new`; `property` is what then no longer holds."""

    name: str
    property: str
    file: str
    old: str
    new: str


MUTANTS = (
    Mutant(
        "drop the version clause",
        "every write conditions on the version that was read",
        "statemachine/store.py",
        'return Clause(name, "version", version - 1) if version > 1',
        'return Clause(name, "type", name.split()[1]) if version > 1',
    ),
    Mutant(
        "drop the claim",
        "nobody moves or acts under a live claim of another",
        "statemachine/reconciler.py",
        "if run.claim is not None and run.claim.until > now:",
        "if run.claim is not None and run.claim.until > now + 1e9:",
    ),
    Mutant(
        "act and move in one pass",
        "a pass either moves the run or acts on the world",
        "statemachine/reconciler.py",
        "                if not decision.run.state.terminal:\n",
        "                self.look_at(run.id)\n                if not decision.run.state.terminal:\n",
    ),
    Mutant(
        "act without claiming",
        "whoever acts has claimed the run first",
        "statemachine/reconciler.py",
        "claimed = self.store.claim(run, owner, until, **asked(",
        "claimed = self.store.claim(run, owner, now - 1, **asked(",
    ),
    Mutant(
        "release another's claim",
        "a claim is given back by its owner only",
        "statemachine/store.py",
        "if run.claim is None or run.claim.owner != owner:",
        "if run.claim is None:",
    ),
    Mutant(
        "unreachable is absent",
        "failing to look says nothing about the world",
        "statemachine/reconciler.py",
        "        kfp_run = self.pipelines.get(run.kfp_id)\n",
        "        try:\n            kfp_run = self.pipelines.get(run.kfp_id)\n"
        "        except Unreachable:\n            kfp_run = None\n",
    ),
    Mutant(
        "attempt not in the name",
        "a stage's KFP run is named <run>.<stage>.<attempt>",
        "statemachine/contracts/stage_request.py",
        'return f"{run_id}.{stage.value}.{attempt}"',
        'return f"{run_id}.{stage.value}.1"',
    ),
    Mutant(
        "no grace before creating again",
        "a launch whose answer was lost is awaited before another is made",
        "statemachine/reconciler.py",
        "if now < create_uncertain_until:  #",
        "if now < 0:  #",
    ),
    Mutant(
        "no grace before rest",
        "nothing rests while a lost launch may still show itself",
        f"{CORE}/decide.py",
        "and not _live(snapshot) and snapshot.now >= run.create_uncertain_until",
        "and not _live(snapshot)",
    ),
    Mutant(
        "twins go on",
        "of several launches of an attempt all but the adopted one are stopped",
        "statemachine/reconciler.py",
        "if duplicate is not oldest and duplicate.state.stoppable:",
        "if duplicate is oldest and duplicate.state.over and duplicate.state.stoppable:",
    ),
    Mutant(
        "retry without seeing the end",
        "no retry before the earlier attempt is seen over",
        f"{CORE}/table.py",
        "when.retryable_failure,     then.retry,           DRAIN),",
        "when.retryable_failure,     then.retry),",
    ),
    Mutant(
        "rest without stopping",
        "a cancelled run leaves nothing working",
        f"{CORE}/table.py",
        "Row(S.TRAINING,          S.CANCELLED,         when.cancelled,             then.finish,          DRAIN),",
        "Row(S.TRAINING,          S.CANCELLED,         when.cancelled,             then.finish),",
    ),
    Mutant(
        "CANCELING is over",
        "a run that is being stopped may still be working",
        "statemachine/contracts/kfp_run.py",
        "OVER = frozenset({KfpRunState.SUCCEEDED,",
        "OVER = frozenset({KfpRunState.CANCELING, KfpRunState.SUCCEEDED,",
    ),
    Mutant(
        "look once",
        "a report written between two looks is not missed",
        "statemachine/reconciler.py",
        "            return self._read_report(run, observed)\n        return replace(observed, started",
        "            return observed\n        return replace(observed, started",
    ),
    Mutant(
        "any report will do",
        "only the report of exactly the adopted kfp_run is read",
        "statemachine/contracts/report.py",
        "    if named != expected:\n",
        "    if named[0] != expected[0]:\n",
    ),
    Mutant(
        "trust the deploy's word",
        "the champion changes only after every pod answered with the version",
        f"{CORE}/proof.py",
        'return "" if all(version == wanted for version in versions) else',
        'return "" if versions else',
    ),
    Mutant(
        "champion before proof",
        "the champion changes in the move that ends with the proof",
        f"{CORE}/effects.py",
        "candidate=str(version) or run.candidate),\n        model.deployed_by(",
        "candidate=str(version) or run.candidate),\n"
        '        replace(model, champion=Release(str(version), run.id, "", generation, snapshot.now)).deployed_by(',
    ),
    Mutant(
        "deploy without the slot",
        "at most one run deploys a model",
        f"{CORE}/guards.py",
        "return reported(snapshot) and slot_free(snapshot) and snapshot.observed.model.hold is None",
        "return reported(snapshot) and snapshot.observed.model.hold is None",
    ),
    Mutant(
        "promote what is held",
        "nothing is promoted while a model is on hold",
        f"{CORE}/guards.py",
        "return reported(snapshot) and slot_free(snapshot) and snapshot.observed.model.hold is None",
        "return reported(snapshot) and slot_free(snapshot)",
    ),
    Mutant(
        "no new generation to roll back",
        "a generation fences whoever deployed before",
        f"{CORE}/effects.py",
        "generation = max(model.generation, live) + 1\n    return (\n        replace(\n            run,\n",
        "generation = max(model.generation, live)\n    return (\n        replace(\n            run,\n",
    ),
    Mutant(
        "cancel a deploy and walk away",
        "a cancelled deploy goes through ROLLING_BACK",
        f"{CORE}/guards.py",
        "return (failed(snapshot) or cancelled(snapshot)) and has_champion(snapshot)",
        "return failed(snapshot) and has_champion(snapshot)",
    ),
    Mutant(
        "approve yesterday's comparison",
        "an approval is of the champion that was compared",
        f"{CORE}/guards.py",
        "return approved(snapshot) and champion_changed(snapshot)",
        "return approved(snapshot) and champion_changed(snapshot) and snapshot.now < 0",
    ),
    Mutant(
        "forget what was rolled back",
        "a version that was rolled back is not promoted again by a night",
        f"{CORE}/effects.py",
        "    return run, _refuse(model, run.candidate) if snapshot.run.condemned else model\n",
        "    return run, model\n",
    ),
    Mutant(
        "no hold after a failed restore",
        "a restore that fails puts the model on hold",
        f"{CORE}/table.py",
        "Row(S.ROLLING_BACK,      S.FAILED,            when.failed,                then.hold,            DRAIN),",
        "Row(S.ROLLING_BACK,      S.FAILED,            when.failed,                then.fail,            DRAIN),",
    ),
    Mutant(
        "dedupe on the event id",
        "an object is its bucket, key and etag",
        f"{CORE}/events.py",
        """etag=str(obj["etag"]).strip('"'),""",
        """etag=str(envelope["id"]),""",
    ),
    Mutant(
        "arrive without the header",
        "an object joins epoch n only while the header says n",
        "statemachine/intake.py",
        "self.store.table.write(_put_window(grown, writer), *puts)",
        "self.store.table.write(*puts)",
    ),
    Mutant(
        "close what has changed",
        "closing conditions on the header, so two closers cannot both win",
        "statemachine/intake.py",
        'open_still = Clause("the window is still open", "version", window.version - 1)',
        'open_still = Clause("the window is still open", "type", "window")',
    ),
    Mutant(
        "forget the night",
        "the same night counts once",
        "statemachine/intake.py",
        "asked=asked, last_slot=slot or last)",
        "asked=asked, last_slot=last)",
    ),
    Mutant(
        "two train at once",
        "one training at a time per model",
        "statemachine/intake.py",
        "if before.training or before.hold is not None:",
        "if before.hold is not None:",
    ),
    Mutant(
        "keep the slot",
        "a run that rests gives its slots back",
        f"{CORE}/effects.py",
        "    if model.training == run.id:\n",
        '    if model.training == run.id + "!":\n',
    ),
)
