"""A transaction that is delivered again replaces the earlier delivery, whatever was corrected; each stands once."""

import time
from collections import Counter
from dataclasses import asdict
from datetime import date
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data import corrections
from training.data.corrections import Again, contested, newest
from training.data.dataset import gathered, kept
from training.data.judging import ValidationResult
from training.data.preprocess import PreprocessConfig, admit, local_sources
from training.data.presets import preset
from training.data.source import Source
from training.synthetic import generate

TODAY = date(2026, 1, 1)
CASES = Path(__file__).parents[1] / "cases"
HEADER = (
    "User,Card,Year,Month,Day,Time,Amount,Use Chip,Merchant Name,Merchant City,Merchant State,Zip,MCC,Errors?,Is Fraud?"
)
FIRST = "1,0,2025,3,4,10:15,$12.50,Chip Transaction,77,Springfield,IL,62701.0,5411,,No"
CONFIG = PreprocessConfig()


def files(folder: Path, *deliveries: list[str]) -> list[Path]:
    paths = [folder / f"{number}.csv" for number in range(len(deliveries))]
    for path, rows in zip(paths, deliveries, strict=True):
        path.write_text("\n".join([HEADER, *rows]) + "\n")
    return paths


def made_of(folder: Path, paths: list[Path]) -> tuple[pl.DataFrame, dict[str, int]]:
    """The rows that stand, sorted by time, and what was counted."""
    folder.mkdir(exist_ok=True)
    admitted = admit(local_sources(paths), CONFIG, today=TODAY, scratch=folder)
    rows, again = gathered(list(admitted.clean.values()), [admitted.verdicts[name] for name in admitted.clean])
    counts = {"rows": len(rows), **asdict(again)}
    del counts["labels"]
    return rows, counts


@pytest.mark.parametrize(
    ("column", "value", "clean", "expected"),
    [
        ("No", "Yes", "label", 1),
        ("$12.50", "$13.75", "cents", 1375),
        ("62701.0", "62702.0", "zip", 62702),
        ("5411", "5999", "mcc", 5999),
        ("Chip", "Online", "channel", 3),
    ],
)
def test_a_correction_replaces_the_earlier_row(tmp_path, column, value, clean, expected):
    """Label, amount, zip or anything else that is no part of who paid whom and when."""
    other = FIRST.replace("1,0,2025,3,4", "2,0,2025,3,5")
    paths = files(tmp_path, [FIRST, other], [FIRST.replace(column, value)])
    rows, counts = made_of(tmp_path, paths)
    assert counts == {"rows": 2, "corrected": 1, "duplicates": 0}
    assert rows[clean][0] == expected
    back, _ = made_of(tmp_path / "back", paths[::-1])  # the other way round the first counts: it is delivered last
    assert back[clean][0] != expected


def test_the_case_files_of_one_transaction(tmp_path):
    """`label_correction_first.csv`, then `label_correction_second.csv`: one row, a fraud."""
    rows, counts = made_of(tmp_path, [CASES / f"files/label_correction_{name}.csv" for name in ("first", "second")])
    assert (rows["label"].to_list(), counts["corrected"]) == ([1], 1)


def test_labels_that_come_later(tmp_path):
    """The same 573 transactions again, 40 of them reported as fraud by now: 573 rows, 50 frauds."""
    paths = [CASES / "data" / f"labels_{name}.csv" for name in ("first", "later")]
    rows, counts = made_of(tmp_path, paths)
    assert counts == {"rows": 573, "corrected": 40, "duplicates": 533}
    assert rows["label"].sum() == 50 == (pl.read_csv(paths[1])["Is Fraud?"] == "Yes").sum()


def test_two_payments_of_one_minute_stay_two(tmp_path):
    """In one object they are numbered; delivered again with one label corrected they are still two."""
    second = FIRST.replace("$12.50", "$7.00")
    rows, counts = made_of(tmp_path, files(tmp_path, [FIRST, second], [FIRST, second.replace("No", "Yes")]))
    assert counts == {"rows": 2, "corrected": 1, "duplicates": 1}
    assert dict(rows.select("cents", "label").rows()) == {1250: 0, 700: 1}


def test_equal_payments_of_one_minute_stay_two(tmp_path):
    """Twice the same coffee in one object, delivered again: two rows, by their running number."""
    filler = [FIRST.replace("1,0,2025", f"{user},0,2025") for user in range(2, 300)]
    twice = [FIRST, FIRST, *filler]
    _, counts = made_of(tmp_path, files(tmp_path, twice, twice))
    assert counts == {"rows": 300, "corrected": 0, "duplicates": 300}


def test_a_part_that_is_delivered_again_replaces_what_it_names(tmp_path):
    """Of two payments of one minute only the second comes again: the amount tells which it is."""
    second = FIRST.replace("$12.50", "$7.00")
    rows, counts = made_of(tmp_path, files(tmp_path, [FIRST, second], [second.replace("62701.0", "62999.0")]))
    assert counts == {"rows": 2, "corrected": 1, "duplicates": 0}
    assert dict(rows.select("cents", "zip").rows()) == {1250: 62701, 700: 62999}


def test_the_newest_delivery_counts_by_its_order_not_by_its_name(tmp_path):
    """Epoch, then arrival, then new before old, then the key."""
    early, late = files(tmp_path, [FIRST], [FIRST.replace("62701", "62999")])
    for order in [((1, 5), (1, 4)), ((2, 0), (1, 9)), ((0, 0, 1), (0, 0, 0))]:
        sources = [Source(str(early), "a", "a", order=order[0]), Source(str(late), "b", "b", order=order[1])]
        folder = tmp_path / str(order)
        folder.mkdir()
        assert list(admit(sources, CONFIG, today=TODAY, scratch=folder).clean) == ["b", "a"]
    assert list(admit(local_sources([early, late]), CONFIG, today=TODAY, scratch=tmp_path).clean) == [
        "000000",
        "000001",
    ]


# -- against the rule in plain Python ---------------------------------------------------------------------------------

AMOUNTS = st.integers(1, 3)
ROWS = st.tuples(st.integers(0, 4), st.integers(0, 1), AMOUNTS, st.integers(0, 1))  # minute, card, cents, label
DELIVERIES = st.lists(st.lists(ROWS, min_size=1, max_size=8), min_size=1, max_size=5)


def frame(rows: list[tuple[int, int, int, int]]) -> pl.DataFrame:
    columns = {name: [0] * len(rows) for name in kept(preset())}
    minute, card, cents, label = (list(column) for column in zip(*rows, strict=True))
    given = {"time": [m * 60 for m in minute], "card_key": card, "cents": cents, "label": label}
    return pl.DataFrame(columns | given).with_columns(pl.col("state").cast(pl.String).cast(pl.Categorical))


def by_the_rule(deliveries: list[list[tuple[int, int, int, int]]]) -> Counter[tuple[int, ...]]:
    """One delivery after the other, one minute and card after the other."""
    standing: dict[tuple[int, int], list[tuple[int, ...]]] = {}
    for delivery in deliveries:
        for key in dict.fromkeys(row[:2] for row in delivery):
            before = list(standing.get(key, []))
            new: list[tuple[int, ...]] = []
            other: list[tuple[int, ...]] = []
            for row in (row for row in delivery if row[:2] == key):
                match = next((old for old in before if old[2] == row[2]), None)
                (other if match is None else new).append(row)
                if match is not None:
                    before.remove(match)
            standing[key] = before[len(other) :] + new + other
    return Counter(row for rows in standing.values() for row in rows)


@given(DELIVERIES)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_what_stands_is_what_the_rule_says(deliveries):
    """For any deliveries, the rows that stay and the rows that are counted add up."""
    verdicts = [
        ValidationResult(len(d), (), first=min(r[0] for r in d) * 60, last=max(r[0] for r in d) * 60)
        for d in deliveries
    ]
    rows, again = newest(pl.concat([frame(delivery) for delivery in deliveries]), verdicts)
    found = Counter((t // 60, c, a, y) for t, c, a, y in rows.select("time", "card_key", "cents", "label").rows())
    assert found == by_the_rule(deliveries)
    assert len(rows) + again.corrected + again.duplicates == sum(map(len, deliveries))


# -- the work that it is ----------------------------------------------------------------------------------------------


def spans(*pairs: tuple[int, int]) -> list[tuple[int, int]]:
    return contested([ValidationResult(1, (), first=first, last=last) for first, last in pairs])


def test_only_shared_times_are_contested():
    """Nothing for objects that follow each other; else the seconds that two or more of them cover."""
    assert spans() == spans((0, 9)) == spans((0, 9), (10, 19), (20, 29)) == []
    assert spans((0, 10), (10, 20)) == [(10, 10)]
    assert spans((0, 100), (10, 20), (30, 40), (35, 50), (90, 200)) == [(10, 20), (30, 50), (90, 100)]
    assert spans((5, 9), (5, 9), (0, 4)) == [(5, 9)]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8)), max_size=10))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_contested_seconds_are_those_that_two_objects_cover(pairs):
    """Second by second."""
    objects = [(first, first + length) for first, length in pairs]
    twice = {s for s in range(40) if sum(first <= s <= last for first, last in objects) > 1}
    found = spans(*objects)
    assert {s for first, last in found for s in range(first, last + 1)} == twice
    assert all(one[1] < other[0] for one, other in pairwise(found))


class CountedInt(int):
    """A second that counts how often it is compared."""

    compared = 0

    def __lt__(self, other: object) -> bool:
        CountedInt.compared += 1
        return int(self) < int(other)  # type: ignore[call-overload]

    def __le__(self, other: object) -> bool:
        CountedInt.compared += 1
        return int(self) <= int(other)  # type: ignore[call-overload]


def test_four_times_as_many_objects_are_four_times_the_work():
    """Comparisons of spans, counted: 4,000 tiny objects that all overlap their neighbour cost n · log n, not n²."""
    counts = []
    for objects in (1000, 4000):
        CountedInt.compared = 0
        found = contested(
            [ValidationResult(1, (), first=CountedInt(n * 10), last=CountedInt(n * 10 + 12)) for n in range(objects)]
        )
        assert len(found) == objects - 1
        counts.append(CountedInt.compared)
    assert counts[1] < 5 * counts[0]


def test_rows_that_nobody_contests_are_not_looked_at(monkeypatch):
    """Of two objects that share a minute only that minute's rows are grouped; without one, none are."""
    seen: list[int] = []
    real = corrections._replaced

    def counted(rows):
        seen.append(len(rows))
        return real(rows)

    monkeypatch.setattr(corrections, "_replaced", counted)
    one = [(minute, 0, 1, 0) for minute in range(100)]
    two = [(minute, 0, 1, 0) for minute in range(99, 200)]
    verdicts = [
        ValidationResult(100, (), first=0, last=99 * 60),
        ValidationResult(101, (), first=99 * 60, last=199 * 60),
    ]
    _, again = newest(pl.concat([frame(one), frame(two)]), verdicts)
    assert (seen, again) == ([2], Again(0, 1))
    apart = [verdicts[0], ValidationResult(100, (), first=100 * 60, last=199 * 60)]
    newest(pl.concat([frame(one), frame(two[1:])]), apart)
    assert seen == [2]


def test_one_minute_of_many_payments_is_matched_in_one_pass():
    """A test card that pays 40,000 times in a minute, half of it delivered again: seconds if each looked at each."""
    rows = [(0, 0, cents, 0) for cents in range(40_000)]
    deliveries = [rows, [(m, c, cents, 1) for m, c, cents, _ in rows[::-2]]]
    verdicts = [ValidationResult(len(delivery), (), first=0, last=0) for delivery in deliveries]
    began = time.process_time()
    left, again = newest(pl.concat([frame(delivery) for delivery in deliveries]), verdicts)
    assert time.process_time() - began < 20  # by comparing each with each: minutes
    assert (len(left), left["label"].sum(), again) == (40_000, 20_000, Again(corrected=20_000, labels=20_000))


def test_many_tiny_objects_are_one_scan(tmp_path):
    """200 files that overlap their neighbours give the rows of one file that holds them all, each once."""
    rows = generate(4000, 5, fraud_rate=0.05).sort("Year", "Month", "Day", "Time")
    paths = [tmp_path / f"{number:04}.csv" for number in range(200)]
    for number, path in enumerate(paths):
        rows.slice(number * 20, 25).write_csv(path)  # five rows of the next one too
    whole = tmp_path / "whole.csv"
    rows.write_csv(whole)
    found, counts = made_of(tmp_path / "many", paths)
    expected, _ = made_of(tmp_path / "one", [whole])
    keys = ["time", "card_key", "merchant_key", "cents", "label"]
    assert found.select(keys).sort(keys).equals(expected.select(keys).sort(keys))
    assert counts == {"rows": 4000, "corrected": 0, "duplicates": 199 * 5}
