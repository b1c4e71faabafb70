"""The record: every write has a condition, and every clause of it a name."""

from dataclasses import replace

import pytest

from simulation.memory.cases import NOW, model, run
from simulation.memory.table import MemoryTable
from statemachine.contracts.errors import Conflict, Malformed, OperationRefused, Unknown, Unreachable
from statemachine.core import codec
from statemachine.core.model import Model
from statemachine.core.reason import TransitionReason
from statemachine.core.run import OperatorRequest, RequestKind, Run, Transition
from statemachine.core.states import State
from statemachine.store import AuditEntry, Store, model_key, put_model, put_run, run_key


def store() -> Store:
    numbers = iter(range(10**6))
    return Store(MemoryTable(), lambda: f"writer-{next(numbers)}")


def begun() -> tuple[Store, Run]:
    book = store()
    fresh = run(State.QUEUED, version=1, claim=None)
    book.begin(
        fresh, Model("fraud", training=fresh.id), Transition(fresh.id, 1, NOW, "", "QUEUED", TransitionReason.ARRIVAL)
    )
    return book, book.run(fresh.id)


def line(about: Run, version: int) -> Transition:
    return Transition(about.id, version, NOW, "QUEUED", "PREPROCESSING", TransitionReason.FROM_PREPROCESS)


def test_a_run_begins_with_history_index_and_slot_in_one_transaction() -> None:
    """All of it is there, or none."""
    book, fresh = begun()
    assert [entry.reason for entry in book.history(fresh.id)] == [TransitionReason.ARRIVAL]
    assert [each.id for each in book.runs("fraud")] == [fresh.id]
    assert book.model("fraud").training == fresh.id
    with pytest.raises(Conflict, match="the run was not changed meanwhile: it is new"):
        book.begin(replace(fresh, version=1), book.model("fraud"), line(fresh, 1))


@pytest.mark.parametrize("write", ["move", "claim", "defer", "operator_request"])
def test_a_stale_writer_loses_by_the_named_clause(write: str) -> None:
    """Somebody else wrote since it was read."""
    book, stale = begun()
    book.defer(stale, NOW + 60, "first")
    moved = replace(stale, version=stale.version + 1, state=State.PREPROCESSING)
    attempts = {
        "move": lambda: book.move(moved, model(), book.model("fraud"), line(stale, moved.version)),
        "claim": lambda: book.claim(stale, "me", NOW + 150),
        "defer": lambda: book.defer(stale, NOW + 60, "second"),
        "operator_request": lambda: book.operator_request(
            stale, OperatorRequest(RequestKind.CANCEL, "ann", "why", NOW), NOW
        ),
    }
    before = dict(book.table.items)  # type: ignore[attr-defined]
    with pytest.raises(Conflict, match="the run was not changed meanwhile"):
        attempts[write]()
    assert book.table.items == before  # type: ignore[attr-defined]


def test_a_move_over_a_changed_model_changes_nothing() -> None:
    """Run, history and model are one transaction."""
    book, fresh = begun()
    observed = book.model("fraud")
    book.change_model("fraud", lambda item: replace(item, generation=9))
    moved = replace(fresh, version=fresh.version + 1, state=State.DEPLOYING)
    with pytest.raises(Conflict, match="the model was not changed meanwhile"):
        book.move(moved, replace(observed, generation=5), observed, line(fresh, moved.version))
    assert book.run(fresh.id) == fresh
    assert book.model("fraud").generation == 9


def test_a_move_that_leaves_the_model_alone_does_not_wait_for_it() -> None:
    """A model that others change all the time must not hold up a run that only goes on."""
    book, fresh = begun()
    observed = book.model("fraud")
    book.change_model("fraud", lambda item: replace(item, generation=9))
    moved = replace(fresh, version=fresh.version + 1, state=State.PREPROCESSING)
    book.move(moved, observed, observed, line(fresh, moved.version))
    assert book.run(fresh.id).state is State.PREPROCESSING


def test_a_step_is_told_once() -> None:
    """History is keyed by version: two passes can never both tell of the same step."""
    book, fresh = begun()
    moved = replace(fresh, version=fresh.version + 1, state=State.PREPROCESSING)
    book.move(moved, book.model("fraud"), book.model("fraud"), line(fresh, moved.version))
    with pytest.raises(Conflict):
        book.move(moved, book.model("fraud"), book.model("fraud"), line(fresh, moved.version))
    assert len(list(book.history(fresh.id))) == 2


def test_a_claim_is_given_back_by_its_owner_only() -> None:
    """A late worker finds another's claim, or none, and leaves it."""
    book, fresh = begun()
    book.claim(fresh, "me", NOW + 150)
    with pytest.raises(Conflict, match="the claim is still ours"):
        book.release(fresh.id, "somebody else", {})
    freed = book.release(fresh.id, "me", {"due_at": NOW})
    assert freed.claim is None
    with pytest.raises(Conflict, match="the claim is still ours"):
        book.release(fresh.id, "me", {})


def test_a_claimed_run_is_due_when_its_claim_runs_out() -> None:
    """So a tick finds it should its holder die."""
    book, fresh = begun()
    book.claim(fresh, "me", NOW + 150)
    assert list(book.table.due(NOW + 149)) == []
    assert list(book.table.due(NOW + 150)) == [fresh.id]


def test_our_own_lost_answer_is_success() -> None:
    """The adapter's own retry finds what it wrote before: no conflict, and nothing twice."""
    book, fresh = begun()
    put = put_run(replace(fresh, version=fresh.version + 1), "the same writer")
    book.table.write(put)
    book.table.write(put)
    with pytest.raises(Conflict):
        book.table.write(put_run(replace(fresh, version=fresh.version + 1), "another writer"))


def test_an_unanswered_write_is_unreachable_and_may_have_been_made() -> None:
    """Nobody guesses: the next pass reads what is there."""
    book, fresh = begun()
    book.table.lose_answers = 1  # type: ignore[attr-defined]
    with pytest.raises(Unreachable):
        book.defer(fresh, NOW + 60, "said")
    assert book.run(fresh.id).reason == "said"


def test_a_change_of_the_model_is_by_what_it_is_now() -> None:
    """A function of the present item, again after a conflict; it may refuse; no change is no write."""
    book = store()
    observed: list[int] = []

    def raced(item: Model) -> Model:
        observed.append(item.version)
        if len(observed) == 1:
            book.change_model("fraud", lambda other: replace(other, generation=7))
        return replace(item, training="fraud-1")

    after = book.change_model("fraud", raced, AuditEntry("start", "ann", "why", NOW))
    assert (after.training, after.generation, len(observed)) == ("fraud-1", 7, 2)
    assert [told.who for told in book.model_acts("fraud")] == ["ann"]
    writes = book.table.writes  # type: ignore[attr-defined]
    book.change_model("fraud", lambda item: item)
    assert book.table.writes == writes  # type: ignore[attr-defined]

    def refuse(item: Model) -> Model:
        raise OperationRefused("no")

    with pytest.raises(OperationRefused):
        book.change_model("fraud", refuse)


def test_what_is_not_there_is_said() -> None:
    """A run by name raises; a model that was never touched has nothing in it."""
    book = store()
    assert book.load("fraud-1") is None
    with pytest.raises(Unknown, match="fraudloop runs"):
        book.run("fraud-1")
    assert book.model("fraud") == Model("fraud")


def test_records_of_an_unknown_format_are_malformed() -> None:
    """Runs and models alike."""
    book, fresh = begun()
    items = book.table.items  # type: ignore[attr-defined]
    for key, read in (
        (run_key(fresh.id), lambda: book.run(fresh.id)),
        (model_key("fraud"), lambda: book.model("fraud")),
    ):
        items[key] = {**items[key], "format": codec.FORMAT + 1}
        with pytest.raises(Malformed, match="this release reads"):
            read()


def test_runs_come_newest_first_and_no_more_than_asked_for() -> None:
    """Of this model only."""
    book, fresh = begun()
    for n in range(2, 6):
        later = run(State.QUEUED, id=f"fraud-{10 + n}", version=1, created_at=NOW + n, claim=None)
        book.begin(later, book.model("fraud"), Transition(later.id, 1, NOW, "", "QUEUED", TransitionReason.ARRIVAL))
    assert [each.id for each in book.runs("fraud", 2)] == ["fraud-15", "fraud-14"]
    assert list(book.runs("risk")) == []
    assert put_model(Model("x", 1), "w").clause.name.endswith("it is new")
    assert fresh.version == 1
