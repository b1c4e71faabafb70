"""Records come back as they were written; another format is a clear error; a release in between is read."""

import json
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulation.memory.cases import snapshot
from simulation.memory.strategies import models, runs
from statemachine.contracts.errors import Malformed
from statemachine.core import codec
from statemachine.core.model import Model
from statemachine.core.reason import TransitionReason
from statemachine.core.run import Run, Transition
from statemachine.core.states import State
from statemachine.core.window import Object, Status, Window


@given(st.sampled_from(State).flatmap(runs), models())
@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_a_written_record_is_read_back(run: Run, model: Model) -> None:
    """Nested records, enums, mappings, tuples and `None` survive."""
    assert codec.loads(Run, codec.dumps(run)) == run
    assert codec.loads(Model, codec.dumps(model)) == model


def test_the_format_before_is_read() -> None:
    """A deployment with runs in flight: what N−1 wrote lacks the newest fields, which take their defaults."""
    run = snapshot(State.DEPLOYING).run
    old = json.loads(codec.dumps(run))
    del old["fault"], old["unreachable_count"], old["report_error"]
    assert codec.loads(Run, json.dumps(old), codec.FORMAT - 1) == run


def test_a_field_of_the_release_after_is_passed_over() -> None:
    """A rollback of the Lambdas with runs in flight."""
    window = Window("fraud", 7)
    new = {**json.loads(codec.dumps(window)), "colour": "red"}
    assert codec.loads(Window, json.dumps(new)) == window


@pytest.mark.parametrize("number", [codec.FORMAT + 1, codec.FORMAT - 2, 0, -1])
def test_any_other_format_is_a_clear_error(number: int) -> None:
    """It says what it found and what this release reads."""
    with pytest.raises(Malformed, match=f"format {number}; this release reads {codec.FORMAT - 1} and {codec.FORMAT}"):
        codec.loads(Window, codec.dumps(Window("fraud")), number)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "null", '"x"', '{"model": "fraud", "epoch": "seven"}', '{"epoch": 1}'],
)
def test_what_is_no_record_is_a_clear_error(text: str) -> None:
    """Not JSON, not an object, a wrong type, a missing field."""
    with pytest.raises(Malformed, match="a Window that cannot be read"):
        codec.loads(Window, text)


def test_an_unknown_state_is_a_clear_error() -> None:
    """`State` has no ghosts."""
    text = codec.dumps(snapshot(State.TRAINING).run).replace('"TRAINING"', '"DREAMING"')
    with pytest.raises(Malformed, match="DREAMING"):
        codec.loads(Run, text)


def test_not_a_number_is_never_written() -> None:
    """NaN is not JSON, and DynamoDB would not take it."""
    with pytest.raises(ValueError, match="Out of range"):
        codec.dumps(Transition("r", 1, float("nan"), "", "", TransitionReason.FAILED))


@dataclass(frozen=True)
class Nested:
    """A record of records."""

    objects: tuple[Object, ...] = ()
    perhaps: Window | None = None


def test_nested_and_optional_records_are_read() -> None:
    """Tuples of records and optional ones."""
    nested = Nested((Object("b", "k", "e", status=Status.ACCEPTED),), Window("fraud"))
    assert codec.loads(Nested, codec.dumps(nested)) == nested
    assert codec.loads(Nested, codec.dumps(replace(nested, perhaps=None))).perhaps is None
