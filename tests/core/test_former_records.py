"""Records of the release before are read in full; `records/format_2.json` was written by that release's code."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from simulation.memory.table import MemoryTable
from statemachine.core import codec
from statemachine.core.reason import RENAMED, TransitionReason
from statemachine.core.run import OperatorRequest, RequestKind, Transition
from statemachine.core.states import State
from statemachine.ports import Clause, Key, Put
from statemachine.reporting.notifications import metric_samples
from statemachine.store import Store

RECORDS: Mapping[str, Any] = json.loads((Path(__file__).parent / "records" / "format_2.json").read_text())
# Every value that format 2 could store as the `row` of a history entry: its guards and its triggers.
FORMER_ROWS = """
approved approved_anew cancelled disapproved exported exported_outdated exported_refused failed failed_for_a_while
failed_gate failed_with_champion from_evaluate from_export from_preprocess from_train learned outdated overdue passed
passed_for_approval proven refused refused_data reported restored restored_for_cancel restored_on_demand to_restore
arrival nightly person redrive rollback
"""


@pytest.fixture
def store() -> Store:
    """A table with the items that the release before left."""
    table = MemoryTable()
    for item in (RECORDS["run"], RECORDS["model"], RECORDS["audit"], *RECORDS["transitions"]):
        attributes = {name: value for name, value in item.items() if name not in ("pk", "sk")}
        table.write(Put(Key(item["pk"], item["sk"]), attributes, Clause("new")))
    return Store(table, str)


def test_the_recorded_format_is_the_one_before() -> None:
    """When the format grows again, record the items of the release before it."""
    assert RECORDS["run"]["format"] == codec.FORMAT - 1


def test_renamed_fields_of_a_run_keep_their_values(store: Store) -> None:
    """An operator's cancel, an uncertain CreateRun and the outage counter survive the upgrade."""
    run = store.run("fraud-7")
    assert run.operator_request == OperatorRequest(
        RequestKind.CANCEL, "arn:aws:iam::1:user/ann", "the data is wrong", 1250.0
    )
    assert (run.create_uncertain_until, run.unreachable_count) == (1350.0, 4)
    assert run.report_error == "report.json has format 9; readable: [1]"
    assert (run.state, run.attempt, run.kfp_id, run.reason) == (State.TRAINING, 2, "kfp-2", "evicted")


def test_no_field_of_a_former_run_is_lost(store: Store) -> None:
    """Each stored value is somewhere in the run that was read."""
    body, read = json.loads(RECORDS["run"]["body"]), json.loads(codec.dumps(store.run("fraud-7")))
    former = {"wish": "operator_request", "unsure_until": "create_uncertain_until"}
    former |= {"misreport": "report_error", "unseen": "unreachable_count"}
    assert {former.get(name, name): value for name, value in body.items()}.items() <= read.items()


def test_no_field_of_a_former_model_or_audit_entry_is_lost(store: Store) -> None:
    """Their fields kept their names."""
    for item, read in ((RECORDS["model"], store.model("fraud")), (RECORDS["audit"], next(store.model_acts("fraud")))):
        assert json.loads(item["body"]).items() <= json.loads(codec.dumps(read)).items()


def test_a_former_history_entry_has_its_reason_and_its_message() -> None:
    """Format 2 stored the guard's name as `row` and the sentence as `reason`."""
    entries = [codec.loads(Transition, item["body"], item["format"]) for item in RECORDS["transitions"]]
    assert [(entry.reason, entry.message) for entry in entries] == [
        (TransitionReason.RETRYABLE_FAILURE, "evicted"),
        (TransitionReason.PREPROCESSED, ""),
        (TransitionReason.OVERDUE, "it did not start by its deadline (3 s ago)"),
    ]


def test_former_retries_and_deadlines_are_still_counted(store: Store) -> None:
    """Metrics compare the reason, whichever release wrote the entry."""
    run = store.run("fraud-7")
    names = {sample.name for entry in store.history("fraud-7") for sample in metric_samples(entry, run)}
    assert {"StageRetried", "StageOverdue"} <= names


@pytest.mark.parametrize("row", FORMER_ROWS.split())
def test_every_former_row_is_a_reason(row: str) -> None:
    """History is kept for 400 days, so each name that a guard had is read."""
    assert TransitionReason(row).name == RENAMED.get(row, row.upper())


def test_a_reason_that_no_release_wrote_is_refused() -> None:
    """A typo does not become a reason."""
    with pytest.raises(ValueError, match="bored"):
        TransitionReason("bored")
