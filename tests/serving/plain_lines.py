"""Lines of the known shapes, and declarations that no preset has, for tests of what reads one payment."""

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from declared_files import CASES, SHAPES

from training.data.declaration import Declaration
from training.data.declared import declared
from training.serving.csv_codec import columns

TODAY = date(2026, 11, 24)
MORE: Mapping[str, tuple[str, dict[str, Any]]] = {
    "zone": ("sparkov", {"preset": "sparkov", "time": {"column": "trans_date_trans_time", "zone": "Europe/Berlin"}}),
    "zone of parts": ("seconds", {"time": {"resolution": "second", "zone": "America/New_York"}}),
    "strptime": ("fdh", {"preset": "handbook", "time": {"format": "%Y-%m-%d %H:%M:%S", "resolution": "minute"}}),
    "thousands": ("eurocomma", {"amount": {"prefixes": ["€"], "suffixes": [" EUR"], "decimal": ",", "thousands": "."}}),
    "salted": ("sparkov", {"preset": "sparkov", "salt": "ours"}),
}
DECLARED: Mapping[str, tuple[str, dict[str, Any]]] = {**{name: (name, SHAPES[name][0]) for name in SHAPES}, **MORE}


def rows(name: str) -> tuple[Declaration, list[dict[str, str]]]:
    """The declaration, and the rows of its shape's case."""
    shape, table = DECLARED[name]
    with (CASES / f"{shape}.csv").open(newline="", encoding="utf-8") as file:
        return declared(table), list(csv.DictReader(file))


def lines(name: str) -> tuple[Declaration, list[bytes]]:
    """The declaration, and those rows as lines of a request."""
    data, found = rows(name)
    return data, [line([row.get(column) or "" for column in columns(data)]) for row in found]


def line(cells: Sequence[str], always: bool = False) -> bytes:
    """One line of CSV, quoted where it must be, or always."""
    out = io.StringIO()
    csv.writer(out, lineterminator="", quoting=csv.QUOTE_ALL if always else csv.QUOTE_MINIMAL).writerow(cells)
    return out.getvalue().encode()
