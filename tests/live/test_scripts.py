"""What the scripts do in a real Valkey is what a few lines of Python say they should."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from live_cases import KEY, Server
from live_cases import settings as live_settings

from training.data.presets import preset
from training.live.connection import StoreConnection
from training.live.definition import DAY, LATE, SPARE, LiveDefinition
from training.live.keys import EntityHash, Names
from training.live.record import DAYS, REPORTS, EntityState, loads
from training.live.scripts import MERGE
from training.live.store import OnlineStore, Payment, StateRead

DEFINITION = LiveDefinition(preset(), 4)
NAMES = Names.of("fraud", DEFINITION.digest, KEY)
HASH = EntityHash(KEY)
NOW = 1_600_000_000 // DAY * DAY + 40_000


@contextmanager
def store_of(server: Server) -> Iterator[OnlineStore]:
    """A store with a connection of its own."""
    given = live_settings(server)
    connection = StoreConnection(given)
    try:
        assert connection.wait(5)
        yield OnlineStore(connection, NAMES, DEFINITION, given)
    finally:
        connection.close()


@pytest.fixture
def store(server: Server) -> Iterator[OnlineStore]:
    with store_of(server) as made:
        yield made


def until() -> float:
    return time.monotonic() + 5


def payment(at: int, name: str, cents: int = 100, card: int = 1, merchant: int = 2) -> Payment:
    return Payment(name, at, cents, {"card": HASH.of("card", card), "merchant": HASH.of("merchant", merchant)})


def entry(one: Payment) -> bytes:
    made = np.zeros(1, DEFINITION.entry)
    made["time"], made["tag"], made["clean cents"] = one.time, one.tag, one.cents
    return made.tobytes()


def count(store: OnlineStore, one: Payment, answer: bytes = b"", **more: Any) -> StateRead | None:
    seen = store.read(one, bool(answer), until())
    return store.append(one, entry(one), seen, until(), answer=answer, **more)


def card(store: OnlineStore) -> EntityState:
    return store.read(payment(NOW, "reader"), False, until()).states["card"]


def test_the_order_of_arrival_does_not_matter(store: OnlineStore, server: Server) -> None:
    """Any order within LATE seconds gives the same entries and days as the order of time."""
    rng = np.random.default_rng(3)
    times = NOW + np.sort(rng.choice(LATE, 20, replace=False))
    for order in (np.arange(20), rng.permutation(20), np.arange(20)[::-1]):
        server.client().flushall()
        for at in order:
            assert count(store, payment(int(times[at]), f"id-{at}", cents=int(at))) is None
        state = card(store)
        assert state.entries["time"].tolist() == times[::-1].tolist()
        assert state.entries["clean cents"].tolist() == list(range(20))[::-1]
        assert state.days.tolist() == [(NOW // DAY, 20, sum(range(20)))]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.integers(-3 * DAY, 3 * DAY), st.integers(-500, 500)), min_size=1, max_size=40),
    late=st.integers(0, LATE),
)
def test_volumes_are_counts_of_strictly_earlier_payments(
    server: Server, steps: list[tuple[int, int]], late: int
) -> None:
    """Up to LATE seconds before the newest one, counts and sums over calendar days are those of a plain loop."""
    server.client().flushall()
    came = sorted(NOW + offset for offset, _ in steps)
    with store_of(server) as store:
        for number, (at, (_, cents)) in enumerate(zip(came, steps, strict=True)):
            count(store, payment(at, f"id-{number}", cents))
        state, at = card(store), came[-1] - late
    past = [(one, cents) for one, (_, cents) in zip(came, steps, strict=True) if one < at]
    counts, sums = state.volumes(at, (1, 7, 30))
    for span, found, total in zip((1, 7, 30), counts, sums, strict=True):
        inside = [cents for one, cents in past if at // DAY - span < one // DAY <= at // DAY]
        assert found == len(inside)
        assert total == sum(inside)


def test_k_entries_and_what_came_just_now_are_kept(store: OnlineStore) -> None:
    """Beyond the last LATE seconds there are k; more than k + SPARE there never are."""
    for number in range(30):
        count(store, payment(NOW + 1000 * number, f"old-{number}"))
    assert len(card(store).entries) == DEFINITION.k + 1
    for number in range(SPARE + 20):
        count(store, payment(NOW + 40_000, f"new-{number}"))
    state = card(store)
    assert len(state.entries) == DEFINITION.k + SPARE
    assert state.seen(NOW + 40_000) == 30 + 20 - DEFINITION.k, "those that had no room are taken for earlier ones"


def test_a_request_id_is_counted_once_and_answered_once(store: OnlineStore, server: Server) -> None:
    """The second answer is the first one's; after it was forgotten the payment is still not counted again."""
    one = payment(NOW, "the same")
    assert count(store, one, answer=b"first", log=("log", {"a": "1"})) is None
    again = count(store, one, answer=b"second", log=("log", {"a": "2"}))
    assert again is not None
    assert again.answer == b"first"
    server.client().delete(NAMES.answer("the same"))
    assert count(store, one, answer=b"third", log=("log", {"a": "3"})) is None
    assert card(store).counter == 1
    assert server.client().xlen("log") == 1


def test_an_earlier_payment_that_came_between_is_told(store: OnlineStore) -> None:
    """A strictly earlier one makes what was read stale; one of the same instant, or a later one, does not."""
    one = payment(NOW, "one")
    for at, stale in ((NOW, False), (NOW + 5, False), (NOW - 5, True)):
        seen = store.read(one, False, until())
        count(store, payment(at, f"between {at}"))
        told = store.append(one, entry(one), seen, until(), force=False)
        assert (told is not None) is stale
        if told is not None:
            assert told.states["card"].seen(NOW) == seen.states["card"].seen(NOW) + 1
            assert store.append(one, entry(one), told, until()) is None
        one = payment(NOW, f"one after {at}")


def test_after_a_restart_the_script_is_sent_again(store: OnlineStore, server: Server) -> None:
    """A restarted server knows no scripts."""
    count(store, payment(NOW, "before"))
    server.client().script_flush()
    assert count(store, payment(NOW + 1, "after")) is None


def merge(server: Server, till: int, as_of: int, times: list[int], keep: int = 1000, own: bool = True) -> int:
    """Bring in a data set with payments at `times`, newest first, each its own minor unit."""
    entries = np.zeros(len(times), DEFINITION.entry)
    entries["time"], entries["clean cents"] = times, 1
    days = np.zeros(0, DAYS) if not times else np.array([(times[0] // DAY, len(times), len(times))], DAYS)
    reports = np.array([(NOW // DAY - 1, 3, as_of % 10)], REPORTS)
    cents, offset = DEFINITION.entry.fields["clean cents"][:2]  # type: ignore[index]
    key = NAMES.entity("card", HASH.of("card", 1))
    fixed = [till, keep, DEFINITION.k, DEFINITION.most, LATE, DEFINITION.entry.itemsize]
    server.client().set(NAMES.fence, "ours" if own else "another's")
    tail = [offset, "<i4" if cents.itemsize == 4 else "<i8", as_of, "ours"]
    parts = [days.tobytes(), reports.tobytes(), entries.tobytes()]
    return int(server.client().eval(MERGE, 3, key, NAMES.fence, NAMES.reach, *fixed, *parts, *tail))


def test_a_data_set_replaces_what_is_before_and_leaves_what_is_later(store: OnlineStore, server: Server) -> None:
    """Payments that the data set covers are its own; twice is once; after another fill has begun nothing is changed."""
    for number, at in enumerate((NOW - DAY, NOW, NOW + 10, NOW + DAY)):
        count(store, payment(at, f"id-{number}"))
    for _ in range(2):
        assert merge(server, NOW + 5, NOW + 4, [NOW, NOW - 5, NOW - 6]) == 1
        state = card(store)
        assert state.entries["time"].tolist() == [NOW + DAY, NOW + 10, NOW, NOW - 5, NOW - 6]
        assert state.days.tolist() == [(NOW // DAY + 1, 1, 100), (NOW // DAY, 4, 103)]
    assert merge(server, NOW + 2 * DAY, NOW + 2 * DAY, [], own=False) == -1
    assert card(store).reports.tolist() == [(NOW // DAY - 1, 3, (NOW + 4) % 10)]


def test_what_a_fill_that_was_given_up_brought_is_taken_back(store: OnlineStore, server: Server) -> None:
    """Its data set ended later, and its newest file was set aside. Payments since then stay, on its last day too."""
    day = NOW // DAY
    merge(server, NOW + 3 * DAY, NOW + 3 * DAY - 1, [NOW + 2 * DAY, NOW + DAY, NOW - 7])
    for at in (NOW + 3 * DAY + 10, NOW + 4 * DAY):
        count(store, payment(at, f"id-{at}"))
    assert merge(server, NOW + 1, NOW, [NOW, NOW - 5]) == 1
    state = card(store)
    assert state.entries["time"].tolist() == [NOW + 4 * DAY, NOW + 3 * DAY + 10, NOW, NOW - 5]
    assert state.days.tolist() == [(day + 4, 1, 100), (day + 3, 1, 100), (day, 2, 2)]
    assert state.until == NOW + 1


def test_a_second_fill_of_a_day_counts_more_payments_than_there_are_entries(store: OnlineStore, server: Server) -> None:
    """A merchant has hundreds a day; of the latest k and a few there are entries."""
    merge(server, NOW + 5, NOW + 4, [NOW])
    for number in range(30):
        count(store, payment(NOW + 200 * number + 10, f"id-{number}"))
    before = card(store).days.tolist()
    assert before == [(NOW // DAY, 31, 3001)]
    assert merge(server, NOW + 5, NOW + 4, [NOW]) == 1
    assert card(store).days.tolist() == before


def test_a_record_that_is_not_there_is_not_made_without_an_end(server: Server) -> None:
    """It was forgotten, or it expired, after the walk had found it."""
    assert merge(server, NOW, NOW - 1, [], keep=0) == 0
    assert not server.client().keys(NAMES.entities)
    merge(server, NOW, NOW - 1, [NOW - 5])
    assert merge(server, NOW, NOW, [], keep=0) == 1
    assert 0 < server.client().ttl(NAMES.entity("card", HASH.of("card", 1))) <= 1000


def test_a_payment_before_a_data_set_is_the_data_sets_affair(store: OnlineStore, server: Server) -> None:
    """It arrives after its day was brought in: it is answered, and the card is left as it is; the merchant has it."""
    merge(server, NOW, NOW - 1, [NOW - 5])
    assert count(store, payment(NOW - 3, "late")) is None
    state = store.read(payment(NOW, "reader"), False, until()).states
    assert state["card"].entries["time"].tolist() == [NOW - 5]
    assert state["merchant"].entries["time"].tolist() == [NOW - 3]


def test_state_expires(store: OnlineStore, server: Server) -> None:
    """What is not written for the retention is gone, and so is an answer after its time."""
    count(store, payment(NOW, "one"), answer=b"first")
    client = server.client()
    assert 399 * DAY < client.ttl(NAMES.entity("card", HASH.of("card", 1))) <= 400 * DAY
    assert 590 < client.ttl(NAMES.answer("one")) <= 600


def test_another_format_is_said(store: OnlineStore, server: Server) -> None:
    """A record that is none is no history, and no reason to fail."""
    server.client().set(NAMES.entity("card", HASH.of("card", 1)), b"\x02nonsense")
    with pytest.raises(Exception, match="damaged"):
        store.read(payment(NOW, "one"), False, until())


def test_records_read_back_as_they_were_written(store: OnlineStore, server: Server) -> None:
    """`dumps` is what the scripts write."""
    merge(server, NOW, NOW - 1, [NOW - 5])
    count(store, payment(NOW + 3, "one"))
    value = server.client().get(NAMES.entity("card", HASH.of("card", 1)))
    assert loads(value, DEFINITION).dumps() == value
