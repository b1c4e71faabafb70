"""The plain reader's values are the batch parser's, and ordinary files are read by it without exception."""

import csv
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_lines import DECLARED, TODAY, line, lines, rows

from training.data.declaration import Declaration
from training.graph.velocity import state_names
from training.serving.csv_codec import BadRequest, columns, parse
from training.serving.line_reader import CleanLines, LineReader

ODD = [
    *("", " ", "0", "-0", "00", "+1", "1.0", "1.5", ".5", "5.", "1e3", "1E5", "-1e-7", "1_0", "٣", "inf", "nan", "NaN"),
    *("1e400", "-1", "99999999999", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "0x1", "7;8"),
    *("$1.005", "$-12.05", "-$12.05", "€3,50", "1.234,5", "1,234.5", "12,5 EUR", "$ 5", "$", "--1", "$100000", "1e9"),
    *("2019", "02", "31", "2019-02-29", "2019-02-28", "2020-02-29T23:59", "2019-03-31 02:30:00", "2019-10-27 02:30:00"),
    *(
        "2019-05-17 06:21:60",
        "2019-05-17T06:21:07.5Z",
        "2019-05-17 06:21+02:00",
        "1969-12-31",
        "2026-11-26",
        "@5",
        "@-5",
    ),
    *(
        "06:21",
        "24:00",
        "6:21",
        "06:21:07",
        "06-21",
        "1558074060",
        "1558074060.25",
        "Bad PIN",
        "Bad PIN, Bad CVV",
        "Bad",
    ),
    *(
        "Yes",
        "No",
        "1",
        "Café",
        "日本",
        "key:card=00000000000000ff;",
        "key:merchant=ffffffffffffffff;x",
        "key:x=12;",
        "null",
    ),
    *("12.00", "12.0x", "a\x1fb", "\x1f", "a\x00b", "\u00a012", "12 ", "\ufeff", "true", 'say "hi"', "a,b", "O'Neill"),
]


def same(plain: CleanLines, batch: Any, data: Declaration) -> None:
    """Each clean column is equal, and so is the state."""
    for name in ("time", *data.source, *data.keys):
        expected = batch[name].to_list()
        assert [_told(value) for value in plain.columns[name].tolist()] == [_told(value) for value in expected], name
    assert plain.columns["label"].tolist() == batch["label"].fill_null(-1).to_list()
    state = batch.select(f"state {name}" for name in state_names(data.relations)).fill_null(math.nan).to_numpy()
    assert np.array_equal(plain.state, state, equal_nan=True)


def _told(value: Any) -> Any:
    return "nan" if isinstance(value, float) and math.isnan(value) else value


@pytest.mark.parametrize("name", DECLARED)
def test_every_line_of_a_known_shape_is_plain(name: str) -> None:
    """All rows of the case are read, quoted or not, and as the batch parser reads them."""
    data, raw = lines(name)
    plain = LineReader(data).plain(raw, TODAY)
    assert plain is not None
    same(plain, parse(raw, TODAY, data), data)


@pytest.mark.parametrize("name", DECLARED)
@settings(max_examples=30, deadline=None)
@given(draw=st.data())
def test_what_is_read_plainly_is_what_the_batch_parser_reads(name: str, draw: st.DataObject) -> None:
    """Whatever stands in whatever field: the plain reader gives the parser's values, or leaves the line to it."""
    data, found = rows(name)
    reader = LineReader(data)
    row = draw.draw(st.sampled_from(found))
    cells = [row.get(column) or "" for column in columns(data)]
    states = len(state_names(data.relations))
    for at, text in draw.draw(
        st.dictionaries(
            st.integers(0, len(cells) - 1), st.one_of(st.sampled_from(ODD), st.text(max_size=8)), max_size=3
        )
    ).items():
        cells[at] = text
    cells += draw.draw(st.one_of(st.just([]), st.lists(st.sampled_from(ODD), max_size=states + 1)))
    cells = cells[: draw.draw(st.integers(len(cells) - 2, len(cells)))]
    raw = line(cells, draw.draw(st.booleans()))
    spoiled = draw.draw(st.sampled_from([raw, raw, raw, raw + b'"', b'"' + raw, raw + b"\n", raw + b"\xff", raw[:-1]]))
    plain = reader.plain([spoiled], TODAY)
    if plain is None:
        return
    try:
        batch = parse([spoiled], TODAY, data)
    except BadRequest as refused:
        pytest.fail(f"{spoiled!r} was read, but: {refused}")
    same(plain, batch, data)


@pytest.mark.parametrize("name", ["zone", "zone of parts", "strptime"])
def test_times_that_only_the_parser_reads_cost_no_line(name: str) -> None:
    """A told time, an odd zone and a good one are read together."""
    data, raw = lines(name)
    at = columns(data).index(data.time.columns[0])
    cells = next(csv.reader([raw[1].decode()]))
    if data.time.parts is None:
        cells[at] = "@1558074061"
    mixed = [raw[0], line(cells), raw[2]]
    plain = LineReader(data).plain(mixed, TODAY)
    assert plain is not None
    same(plain, parse(mixed, TODAY, data), data)
