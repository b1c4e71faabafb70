"""Every check refuses with its file's row, column, what was found and what was expected."""

import gzip
from datetime import date

import polars as pl
import pytest

from training.data import parser, validation
from training.data.checks import Limits, Problem
from training.data.file_reader import Unreadable
from training.synthetic import generate

HEADER = ",".join(parser.RAW_SCHEMA)
GOOD = "0,0,2019,9,1,06:21,$134.09,Swipe Transaction,3527213246127876953,La Verne,CA,91750.0,5300,,No"
LIMITS = Limits(latest=date(2020, 1, 1))


def judged(tmp_path, body: bytes | str, limits: Limits = LIMITS) -> list[tuple[int, str, str, str]]:
    """The problems of a file with these contents, as plain tuples."""
    raw = tmp_path / "raw"
    raw.write_bytes(body.encode() if isinstance(body, str) else body)
    try:
        verdict = validation.judge(raw, tmp_path / "clean.parquet", limits, tmp_path)
    except Unreadable as error:
        return [(error.problem.row, error.problem.column, error.problem.found, error.problem.expected)]
    return [(problem.row, problem.column, problem.found, problem.expected) for problem in verdict.problems]


def lines(*rows: str) -> str:
    return "\n".join([HEADER, *rows]) + "\n"


def varied(count: int) -> list[str]:
    """Rows that differ in their amount."""
    return [GOOD.replace("134.09", f"{number}.50") for number in range(count)]


def with_cell(column: str, value: str) -> str:
    cells = GOOD.split(",")
    cells[list(parser.RAW_SCHEMA).index(column)] = value
    return ",".join(cells)


BAD_CELLS = [
    ("User", "-1", "User", "integer ≥ 0"),
    ("User", "x", "User", "integer ≥ 0"),
    ("Card", "12", "Card", "0 to 9"),
    ("Card", "", "Card", "0 to 9"),
    ("Day", "31", "Year/Month/Day", "date that exists"),
    ("Month", "13", "Year/Month/Day", "date that exists"),
    ("Year", "1870", "Year/Month/Day", "date that exists"),
    ("Year", "2020x", "Year/Month/Day", "date that exists"),
    ("Year", "2022", "Year/Month/Day", "up to 2020-01-01"),
    ("Time", "24:00", "Time", "HH:MM"),
    ("Time", "06:61", "Time", "HH:MM"),
    ("Time", "6:21", "Time", "HH:MM"),
    ("Time", "", "Time", "HH:MM"),
    ("Amount", "n/a", "Amount", "dollars"),
    ("Amount", "", "Amount", "dollars"),
    ("Amount", "$nan", "Amount", "dollars"),
    ("Amount", "$inf", "Amount", "dollars"),
    ("Amount", "$1e12", "Amount", "dollars"),
    ("Amount", "$100000.01", "Amount", "100,000"),
    ("Use Chip", "Telepathy", "Use Chip", "Swipe, Chip or Online"),
    ("Merchant Name", "Bob's", "Merchant Name", "64-bit"),
    ("Merchant Name", "99999999999999999999", "Merchant Name", "64-bit"),
    ("Merchant City", "", "Merchant City", "a name, or ONLINE"),
    ("Zip", "1e9", "Zip", "99999"),
    ("Zip", "91750.5", "Zip", "99999"),
    ("Zip", "EC1A", "Zip", "99999"),
    ("MCC", "12", "MCC", "700 to 9999"),
    ("MCC", "none", "MCC", "700 to 9999"),
    ("Is Fraud?", "maybe", "Is Fraud?", "Yes or No"),
    ("Is Fraud?", "", "Is Fraud?", "Yes or No"),
]


@pytest.mark.parametrize(("column", "value", "quoted", "expected"), BAD_CELLS)
def test_a_bad_cell_is_found(tmp_path, column, value, quoted, expected):
    """The second of three rows is bad: the problem names row 2, its column, the very text and the expectation."""
    first, _, third = varied(3)
    (problem,) = judged(tmp_path, lines(first, with_cell(column, value), third))
    assert problem[:2] == (2, quoted)
    assert problem[2] == "empty" if value == "" else value in problem[2]
    assert expected in problem[3]


def test_a_good_file_has_no_problem(tmp_path):
    """Refunds, empty state, zip and errors, combined errors and unknown categories are all fine."""
    unusual = [
        with_cell("Amount", "$-66.00"),
        with_cell("Merchant State", ""),
        with_cell("Zip", ""),
        with_cell("Errors?", '"Bad PIN,Insufficient Balance"'),
        with_cell("Errors?", "Struck by Lightning"),
        with_cell("MCC", "9998"),
        with_cell("Merchant State", "Atlantis"),
    ]
    assert judged(tmp_path, lines(*unusual)) == []


def test_several_broken_rules_are_reported_at_once_with_few_examples(tmp_path):
    """Each broken rule has its own rows; of many rows five are listed and the rest are counted."""
    rows = [
        with_cell("Amount", f"bad{number}").replace("La Verne,CA,91750", f"La Verne,CA,{number}") for number in range(9)
    ]
    rows.append(with_cell("MCC", "1"))
    found = judged(tmp_path, lines(*rows))
    assert [problem[:3] for problem in found] == [
        *((number + 1, "Amount", f"bad{number}") for number in range(5)),
        (10, "MCC", "1"),
    ]
    assert found[0][3].endswith("(and 4 more rows)")


def test_a_missing_column_does_not_hide_the_others(tmp_path):
    """A file without MCC and with a bad amount gets both problems."""
    frame = pl.read_csv(lines(GOOD, with_cell("Amount", "n/a")).encode()).drop("MCC")
    found = judged(tmp_path, frame.write_csv())
    assert [problem[:3] for problem in found] == [(0, "MCC", "no such column"), (2, "Amount", "n/a")]


def test_another_table_is_recognised_by_its_header(tmp_path):
    """A file with none of our columns says what it has and what was expected."""
    ((row, _, found, expected),) = judged(tmp_path, "a,b\n1,2\n")
    assert (row, found) == (0, "columns a, b")
    assert "Merchant Name" in expected


def test_a_column_may_not_come_twice(tmp_path):
    """Two columns with one name are ambiguous."""
    assert judged(tmp_path, f"{HEADER},MCC\n{GOOD},1\n")[0][:2] == (0, "MCC")


def test_columns_may_be_reordered_and_added(tmp_path):
    """Names count, positions do not; what we do not know is left alone."""
    frame = pl.read_csv(lines(GOOD).encode(), infer_schema=False).with_columns(Remark=pl.lit("ä"))
    assert judged(tmp_path, frame.select(reversed(frame.columns)).write_csv()) == []


def test_an_empty_file(tmp_path):
    """No bytes is a problem of its own, and so is a header without rows."""
    assert judged(tmp_path, b"") == [(0, "", "an empty file", "a header and rows")]
    assert judged(tmp_path, HEADER + "\n") == [(0, "", "0 rows", "at least 1 rows")]


def test_too_few_rows(tmp_path):
    """The limit is the configuration's."""
    assert judged(tmp_path, lines(GOOD), Limits(min_rows=2)) == [(0, "", "1 rows", "at least 2 rows")]


@pytest.mark.parametrize("keep", [0.5, 0.999])
def test_a_truncated_gzip(tmp_path, keep):
    """A gzip file that was cut is refused, although much of it can be unpacked."""
    packed = gzip.compress(lines(*varied(2000)).encode())
    ((row, _, found, expected),) = judged(tmp_path, packed[: int(len(packed) * keep)])
    assert (row, expected) == (0, "a complete gzip file")
    assert "broken gzip" in found


def test_a_damaged_gzip(tmp_path):
    """A flipped byte is noticed by the checksum, if not before."""
    packed = bytearray(gzip.compress(lines(*varied(2000)).encode()))
    packed[len(packed) // 2] ^= 0xFF
    assert judged(tmp_path, bytes(packed))[0][3] == "a complete gzip file"


def test_gzip_and_parquet_are_read_whatever_their_name(tmp_path):
    """What a file is, its first bytes say."""
    frame = generate(300, 0)
    assert judged(tmp_path, gzip.compress(frame.write_csv().encode()), Limits()) == []
    frame.write_parquet(tmp_path / "p")
    assert judged(tmp_path, (tmp_path / "p").read_bytes(), Limits()) == []


def test_a_truncated_parquet(tmp_path):
    """A Parquet file without its footer is refused."""
    generate(300, 0).write_parquet(tmp_path / "p")
    body = (tmp_path / "p").read_bytes()
    assert judged(tmp_path, body[: len(body) // 2])[0][3] == "a complete Parquet file"


def test_mixed_encodings(tmp_path):
    """A Latin-1 row among UTF-8 rows is found by its row and column; proper UTF-8 is fine."""
    good = with_cell("Merchant City", "Zürich")
    assert judged(tmp_path, lines(good)) == []
    ((row, column, found, expected),) = judged(tmp_path, lines(good).encode() + good.encode("latin-1") + b"\n")
    assert (row, column, expected) == (2, "Merchant City", "text in UTF-8")
    assert "\\xfc" in found


def test_utf16_is_refused(tmp_path):
    """Another encoding altogether is refused by its header."""
    assert judged(tmp_path, lines(GOOD).encode("utf-16"))[0][3] == "text in UTF-8"


def test_a_row_with_too_many_fields(tmp_path):
    """A stray comma is found by its row."""
    assert judged(tmp_path, lines(GOOD, GOOD + ",1")) == [(2, "", "16 fields", "15 fields")]


def test_a_row_that_was_cut_short(tmp_path):
    """A truncated row lacks required values."""
    found = judged(tmp_path, lines(GOOD, GOOD[:40]))
    assert {problem[0] for problem in found} == {2}
    assert "Is Fraud?" in {problem[1] for problem in found}


def test_duplicates(tmp_path):
    """A file that mostly repeats itself is refused with the first repeated row; a few repeats are tolerated."""
    ((row, _, found, _),) = judged(tmp_path, lines(*varied(3), *varied(3)))
    assert (row, found.partition(",")[0]) == (4, "3 of 6 rows repeat another")
    assert judged(tmp_path, lines(*varied(200), GOOD, GOOD)) == []


@pytest.mark.parametrize(("order", "rows"), [("any", []), ("card", [3]), ("file", [2, 3])])
def test_dates_out_of_order(tmp_path, order, rows):
    """Rows may come in any order unless the model's configuration asks for time's order by card or by file."""
    table = [with_cell("Year", "2019"), with_cell("Year", "2018").replace("0,0,", "1,0,", 1), with_cell("Year", "2017")]
    table[2] = table[2].replace("0,0,", "1,0,", 1)
    found = judged(tmp_path, lines(*table), Limits(order=order))
    assert [problem[0] for problem in found] == rows


@pytest.mark.parametrize("style", ["always", "non_numeric"])
def test_quotes_around_everything(tmp_path, style):
    """Exports that quote every field, the empty ones too, hold the same rows."""
    frame = generate(500, 3)
    assert judged(tmp_path, frame.write_csv(quote_style=style), Limits()) == []
    quoted = pl.read_parquet(tmp_path / "clean.parquet")
    assert judged(tmp_path, frame.write_csv(), Limits()) == []
    assert quoted.equals(pl.read_parquet(tmp_path / "clean.parquet"))


def test_windows_line_ends_and_a_byte_order_mark(tmp_path):
    """Exports from other systems are read."""
    assert judged(tmp_path, b"\xef\xbb\xbf" + lines(GOOD).replace("\n", "\r\n").encode()) == []


def test_what_a_file_says_is_cut_and_printable():
    """Control characters, escape sequences and lone surrogates reach no terminal and no report."""
    shortened = Problem(3, "\x1b[31mred\x01", "a" * 400, "ü\udc80\n").cut(20)
    assert shortened == Problem(3, "\\x1b[31mred\\x01", "a" * 19 + "…", "ü\\udc80\\n")
    assert Problem(1, "Amount", "n/a", "dollars").cut(20) == Problem(1, "Amount", "n/a", "dollars")
    assert len(Problem(1, "\x01" * 99, "", "").cut(10).column) == 10
