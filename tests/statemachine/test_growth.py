"""The cost of a run, a nightly listing, a tick and a list does not grow with history: the benchmark's counts."""

import pytest

from benchmarks import growth


def test_a_run_costs_the_same_at_a_million_objects_as_at_a_thousand() -> None:
    """The same calls, and within a fifth the same memory; `make bench` measures the time."""
    many, few = growth.lived(growth.MANY), growth.lived(growth.FEW)
    assert many.counts == few.counts


def test_the_measure_notices_a_query_over_all_that_was_learned() -> None:
    """Else equal costs would say nothing: what is on record is yielded to whoever reads it."""
    world = growth.world_with(5_000, {})
    assert len(list(world.intake.objects("fraud"))) == 5_000
    assert world.intake.arrive([growth._object(7)]).joined == 0


def test_a_night_of_new_keys_stays_within_its_lambda() -> None:
    """At a tenth of the size; the figure is linear in the keys."""
    (measurement,) = growth.nightly(5_000)
    assert measurement["value"] * 10 < growth.LIMIT["night"]


def test_a_tick_asks_little_of_each_model() -> None:
    """Two reads for an idle one, three for one with a run in flight; what it closes costs more."""
    (measurement,) = growth.tick(100)
    assert measurement["value"] * 10 < growth.LIMIT["tick"]


def test_upstreams_cost_of_a_list_is_two_queries_over_what_the_filter_leaves() -> None:
    """Every row of the experiment, or every one created since; names are matched row by row."""
    runs = growth.RunTable([float(n) for n in range(100)])
    name = {"operation": "IS_SUBSTRING", "key": "display_name", "stringValue": "x"}
    runs.list([name])
    assert runs.read == 200
    bound = {"operation": "GREATER_THAN_EQUALS", "key": "created_at", "timestampValue": "1970-01-01T00:01:30Z"}
    runs.list([name, bound])
    assert runs.read == 200 + 20


@pytest.mark.parametrize("history", [50, 500])
def test_a_list_reads_what_the_adapter_asks_for(history: int) -> None:
    """Over the wire; without a bound all of the history."""
    assert growth.rows_read(history, bounded=False) == 2 * history
