"""Runs that went through their states, written into the table as the ledger writes them."""

import json
import time
from dataclasses import replace

from statemachine.core.reason import TransitionReason
from statemachine.core.run import Run, Transition, Trigger
from statemachine.core.states import State


def played(system, *, path, run_id="fraud-1", **fields):
    """Write a run that went through the states of `path`: (state, seconds since its creation, row, reason)."""
    store = system.store
    first, *later = path
    created = time.time() - 600
    run = Run(
        id=run_id, model="fraud", epoch=int(run_id.split("-")[1]), state=State[first[0]], version=1, created_at=created
    )
    run = replace(
        run, entered_at=created, due_at=created, trigger=Trigger("arrival", why="3 objects, then quiet for 300 s")
    )
    model = store.model("fraud")
    store.begin(run, replace(model, training=run_id), Transition(run_id, 1, created, "", first[0], first[2], first[3]))
    for number, (state, after, row, reason) in enumerate(later, 2):
        before = store.model("fraud")
        at = created + after
        entry = Transition(run_id, number, at, run.state.value, state, row, reason, attempt=1)
        rests = State[state].terminal
        run = replace(
            run, state=State[state], version=number, entered_at=at, reason=reason, **(fields if rests else {})
        )
        if state == "AWAITING_APPROVAL":
            run = replace(run, candidate=f"{run_id}-0000000a")
        store.move(run, replace(before, training="") if rests else before, before, entry)
    return run


HAPPY = [
    ("QUEUED", 0, TransitionReason.ARRIVAL, "3 objects, then quiet for 300 s"),
    ("PREPROCESSING", 1, TransitionReason.FROM_PREPROCESS, ""),
    ("TRAINING", 11, TransitionReason.PREPROCESSED, ""),
    ("EVALUATING", 101, TransitionReason.REPORTED, ""),
    ("EXPORTING", 111, TransitionReason.PASSED, ""),
    ("DEPLOYING", 114, TransitionReason.EXPORTED, ""),
    ("SUCCEEDED", 122, TransitionReason.PROVEN, ""),
]


def read(result):
    """What a command printed with --json."""
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)
