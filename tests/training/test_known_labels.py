"""Labels that come later: reports name transactions by what they are known by, and say since when they are fraud."""

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data import known_labels, reports
from training.data.known_labels import Delays, LabelCounts
from training.data.parser import NEVER, UNKNOWN
from training.data.preprocess import admit, configured, local_sources
from training.data.presets import preset
from training.data.reports import Feed
from training.data.split import DAY

DATA = preset()
KEY = {"card_key": 1, "merchant_key": 2, "cents": 100}


def rows(*times: int, label: int = UNKNOWN, cents: int = 100) -> pl.DataFrame:
    """Transactions of one card at one merchant at these seconds."""
    made = pl.DataFrame({"time": times, **{name: [value] * len(times) for name, value in KEY.items()}})
    return made.with_columns(label=pl.lit(label, dtype=pl.Int8), cents=pl.lit(cents, dtype=pl.Int32))


def feed(*told: tuple[int, int, int], number: int = 0) -> Feed:
    """Reports of (transaction's second, label, reported at), in the order of their delivery."""
    time, label, at = zip(*told, strict=True)
    frame = pl.DataFrame({"time": time, **{name: [value] * len(told) for name, value in KEY.items()}})
    named = frame.with_columns(pl.Series("label", label, dtype=pl.Int8), pl.Series("at", at))
    return Feed(named.with_columns(number=pl.lit(number, dtype=pl.Int32)))


def learned(table: pl.DataFrame, told: Feed | None, maturity: float = 30) -> tuple[list[tuple[int, int]], LabelCounts]:
    """Label and `known_at` of each row, and the counts."""
    made, counts, _ = known_labels.timed(table, DATA, Delays(7, maturity), told)
    return made.select("label", "known_at").rows(), counts


def test_a_report_counts_from_when_it_came() -> None:
    """Not from its transaction on, and never before it, whatever the report says."""
    assert learned(rows(5 * DAY), feed((5 * DAY, 1, 9 * DAY)))[0] == [(1, 9 * DAY)]
    assert learned(rows(5 * DAY), feed((5 * DAY, 1, 3 * DAY)))[0] == [(1, 5 * DAY)]


def test_a_transaction_that_nobody_reports_is_good_in_the_end() -> None:
    """`label_maturity_days` after it; until then, and without a feed, it is not known."""
    table = rows(0, 40 * DAY)
    assert learned(table, feed((40 * DAY, 1, 41 * DAY)))[0] == [(0, 30 * DAY), (1, 41 * DAY)]
    assert learned(rows(0, 5 * DAY), feed((0, 1, DAY)))[0] == [(1, DAY), (UNKNOWN, NEVER)]
    assert learned(table, None)[0] == [(UNKNOWN, NEVER)] * 2


def test_time_passes_with_reports_too() -> None:
    """No transaction came since, but a report did: what is old by then is good."""
    assert learned(rows(0, DAY), feed((DAY, 1, 31 * DAY)))[0] == [(0, 30 * DAY), (1, 31 * DAY)]


def test_the_newest_report_wins_and_says_since_when() -> None:
    """A report that is taken back is counted as a correction; one that is repeated changes nothing."""
    taken_back = learned(rows(0), feed((0, 1, DAY), (0, 0, 9 * DAY)))
    assert (taken_back[0], taken_back[1].labels_corrected) == ([(0, 9 * DAY)], 1)
    again = learned(rows(0), feed((0, 1, DAY), (0, 1, 5 * DAY), (0, 1, 9 * DAY)))
    assert (again[0], again[1].labels_corrected) == ([(1, DAY)], 0)
    back_and_forth = learned(rows(0), feed((0, 1, DAY), (0, 0, 5 * DAY), (0, 1, 9 * DAY), (0, 1, 10 * DAY)))
    assert back_and_forth[0] == [(1, 9 * DAY)]


def test_of_two_reports_of_one_moment_the_later_delivery_counts() -> None:
    """Nothing else tells them apart."""
    assert learned(rows(0), feed((0, 1, DAY), (0, 0, DAY)))[0] == [(0, DAY)]


def test_a_report_overrules_the_column() -> None:
    """The column's label is known by its delay; a report that says the same changes no time, another one corrects."""
    good = rows(0, label=0)
    assert learned(good, None)[0] == [(0, 7 * DAY)]
    told, counts = learned(good, feed((0, 1, 20 * DAY)))
    assert (told, counts.labels_corrected) == ([(1, 20 * DAY)], 1)
    told, counts = learned(good, feed((0, 0, 20 * DAY)))
    assert (told, counts.labels_corrected) == ([(0, 7 * DAY)], 0)


def test_a_report_without_its_transaction_waits() -> None:
    """It is counted once however often it came, and counts as soon as the transaction is there."""
    told = feed((5 * DAY, 1, 6 * DAY), (5 * DAY, 1, 7 * DAY), (0, 1, DAY))
    assert learned(rows(0), told)[1].waiting == 1
    labels, counts = learned(rows(0, 5 * DAY), told)
    assert (labels, counts.waiting, counts.reported) == ([(1, DAY), (1, 6 * DAY)], 0, 2)


def test_a_number_tells_equal_transactions_apart() -> None:
    """Without one a report means all of them; a number that none has waits."""
    table = rows(0, 0, 0)
    assert [label for label, _ in learned(table, feed((0, 1, DAY)))[0]] == [1, 1, 1]
    assert [label for label, _ in learned(table, feed((0, 1, DAY), number=2))[0]] == [UNKNOWN, 1, UNKNOWN]
    assert learned(table, feed((0, 1, DAY), number=4))[1].waiting == 1


REPORTS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 1), st.integers(0, 40)),
    max_size=12,
    unique_by=lambda one: (one[0], one[2]),
)


@settings(max_examples=100, deadline=None)
@given(told=REPORTS, again=st.lists(st.integers(0, 100), max_size=6), order=st.randoms())
def test_order_and_repetition_of_reports_do_not_matter(
    told: list[tuple[int, int, int]], again: list[int], order
) -> None:
    """Reports of different moments, shuffled, some delivered twice: the same labels, times and counts."""
    given_ = [(payment * DAY, label, at * DAY) for payment, label, at in told]
    if not given_:
        return
    other = given_ + [given_[number % len(given_)] for number in again]
    order.shuffle(other)
    table = rows(*(n * DAY for n in range(4)))
    assert learned(table, feed(*given_)) == learned(table, feed(*other))


@settings(max_examples=100, deadline=None)
@given(told=REPORTS, cut=st.integers(0, 40))
def test_what_was_known_by_a_day_does_not_depend_on_later_reports(told: list[tuple[int, int, int]], cut: int) -> None:
    """A label known by a day is what the reports up to then say, unless a later one takes it back."""
    given_ = [(payment * DAY, label, at * DAY) for payment, label, at in told]
    before = [one for one in given_ if one[2] <= cut * DAY]
    if not before:
        return
    table = rows(*(n * DAY for n in range(4)))
    whole, then = (learned(table, feed(*told_), maturity=1000)[0] for told_ in (given_, before))
    for (label, at), (label_then, at_then) in zip(whole, then, strict=True):
        if at <= cut * DAY:
            assert (label, at) == (label_then, at_then)


def test_a_report_of_what_lies_before_the_history_does_not_wait(tmp_path: Path) -> None:
    """Its transaction was left out, and is not expected any more."""
    (tmp_path / "labels.csv").write_text(
        "User,Card,Year,Month,Day,Time,Amount,Merchant Name,Is Fraud?,reported_at\n"
        "1,0,2020,1,1,10:00,$1.00,7,Yes,2020-01-09\n1,0,2020,3,1,10:00,$1.00,7,Yes,2020-03-09\n"
    )
    sources = local_sources([], [tmp_path / "labels.csv"])
    admitted = admit(sources, configured({}), today=date(2026, 11, 27), scratch=tmp_path)
    files = list(admitted.reports.values())
    begin = int(datetime(2020, 2, 1, tzinfo=UTC).timestamp())
    whole, since = (reports.read(files, DATA, at) for at in (0, begin))
    assert whole is not None
    assert since is not None
    assert (len(whole.rows), len(since.rows)) == (2, 1)
