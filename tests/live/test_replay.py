"""Scored live is scored offline: a stream of payments with nightly materialisation gives the data set's own scores."""

import random
from pathlib import Path

import numpy as np
import pytest
from live_cases import Replayed, Server, ask, pod, settings

from training.live.definition import DAY
from training.scorelog.record import parse, stream

SPAN = 3_000  # payments
EXACT = 1e-5


@pytest.fixture
def rows(replayed: Replayed) -> list[int]:
    """The last full days of the data set."""
    return replayed.last(SPAN)


def test_every_payment_is_scored_as_offline(
    replayed: Replayed, server: Server, tmp_path: Path, rows: list[int]
) -> None:
    """Two pods that share the store take turns; every seventh payment is asked again, at the other pod."""
    given = settings(server, sample_share=0.05)
    with pod(replayed.model, given) as (first, counted), pod(replayed.model, given) as (second, _):

        def payment(row: int, line: bytes) -> float:
            pods = (first, second) if row % 2 else (second, first)
            answer = ask(pods[0], line, f"row-{row}")
            assert answer["DEGRADED"][0, 0] == b""
            if row % 7 == 0:
                again = ask(pods[1], line, f"row-{row}")
                assert all(np.array_equal(again[name], answer[name]) for name in answer if name != "REASONS")
            return float(answer["PROBABILITY"][0, 0])

        differences = replayed.replay(tmp_path / "night", given, rows, payment)
    assert len(differences) >= SPAN
    assert differences.max() <= EXACT
    assert set(counted.degraded) == {""}
    logged = [parse(fields) for _, fields in server.client().xrange(stream("fraud"))]
    assert [record.request_id for record in logged] == [f"row-{row}" for row in rows], "each answer once"


def test_payments_of_different_entities_may_arrive_in_any_order(
    replayed: Replayed, server: Server, tmp_path: Path
) -> None:
    """Each day's payments arrive shuffled, but those that share a card or a merchant stay in their order."""
    given, rng = settings(server), random.Random(5)
    entities = replayed.table.select("card", "merchant").rows()

    def shuffled(day: list[int]) -> list[int]:
        waiting, told = list(day), []
        while waiting:
            free = [
                row for at, row in enumerate(waiting) if not any(_shared(entities, row, one) for one in waiting[:at])
            ]
            told.append(rng.choice(free))
            waiting.remove(told[-1])
        return told

    with pod(replayed.model, given) as (live, _):

        def payment(row: int, line: bytes) -> float:
            return float(ask(live, line, f"row-{row}")["PROBABILITY"][0, 0])

        differences = replayed.replay(tmp_path / "night", given, replayed.last(600), payment, shuffled)
    assert differences.max() <= EXACT


def test_a_late_payment_is_scored_as_if_it_had_come_in_time(replayed: Replayed, server: Server, tmp_path: Path) -> None:
    """A payment that arrives after a later one of its own card reads only what is strictly earlier. What came before it
    was answered without it; the night repairs what they left, so the next day's are as offline again.
    """
    given, rows = settings(server), replayed.last(1_500)
    times = replayed.times()
    cards = replayed.table["card"].to_numpy()
    swapped = set()

    def late(day: list[int]) -> list[int]:
        if times[day[0]] // DAY % 2:
            return day
        for at in range(len(day) - 1):
            if cards[day[at]] == cards[day[at + 1]] and times[day[at]] < times[day[at + 1]]:
                swapped.update(day[at : at + 2])
                return [*day[:at], day[at + 1], day[at], *day[at + 2 :]]
        return day

    answers = {}
    with pod(replayed.model, given) as (live, _):

        def payment(row: int, line: bytes) -> float:
            answers[row] = float(ask(live, line, f"row-{row}")["PROBABILITY"][0, 0])
            return answers[row]

        replayed.replay(tmp_path / "night", given, rows, payment, late)
    offline = dict(zip(rows, replayed.offline(rows), strict=True))
    in_time = [row for row in rows if times[row] // DAY not in {times[one] // DAY for one in swapped}]
    late_ones = [row for row in swapped if row + 1 in swapped and cards[row] == cards[row + 1]]
    assert len(late_ones) >= 2
    assert len(in_time) >= 100
    assert max(abs(answers[row] - offline[row]) for row in late_ones) <= EXACT
    assert max(abs(answers[row] - offline[row]) for row in in_time) <= EXACT


def _shared(entities: list[tuple[int, int]], one: int, other: int) -> bool:
    return entities[one][0] == entities[other][0] or entities[one][1] == entities[other][1]
