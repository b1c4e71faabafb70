"""Filters, sorting and pages, as KFP has them."""

import json
from urllib.parse import quote

import pytest

from local.kfp import listing
from local.kfp.errors import ApiError

RUNS = [
    {
        "run_id": f"id-{number}",
        "display_name": f"fraud-{number % 3}.train.{number}",
        "state": "FAILED" if number % 2 else "SUCCEEDED",
        "created_at": f"2026-11-24T09:00:{number:02d}.000000Z",
    }
    for number in range(7)
]


def matching(*predicates):
    return [one["run_id"] for one in listing.select(RUNS, json.dumps({"predicates": list(predicates)}))]


@pytest.mark.parametrize(
    ("operation", "value", "found"),
    [
        ("EQUALS", "fraud-1.train.4", ["id-4"]),
        (1, "fraud-1.train.4", ["id-4"]),
        ("IS_SUBSTRING", "FRAUD-1.", ["id-1", "id-4"]),
        (9, "fraud-1.", ["id-1", "id-4"]),
        ("NOT_EQUALS", "fraud-1.train.4", ["id-0", "id-1", "id-2", "id-3", "id-5", "id-6"]),
    ],
)
def test_an_operation_is_a_name_or_the_number_that_the_sdk_sends(operation, value, found):
    """Both forms mean the same; IS_SUBSTRING does not heed case."""
    assert matching({"operation": operation, "key": "display_name", "stringValue": value}) == found


def test_all_predicates_must_hold():
    """Predicates are joined by AND; IN takes a list, times compare as times."""
    assert matching(
        {"operation": "IN", "key": "state", "stringValues": {"values": ["FAILED"]}},
        {"operation": "GREATER_THAN", "key": "created_at", "timestampValue": "2026-11-24T09:00:02Z"},
    ) == ["id-3", "id-5"]


def test_a_filter_is_decoded_once_more_than_the_framework_does():
    """So an encoded filter is understood, and `+` and `%` do not survive in a name."""
    plus = [{"run_id": "plus", "display_name": "a+b"}]
    text = json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": "a+b"}]})
    assert listing.select(plus, text) == []
    assert listing.select(plus, quote(text)) == plus


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        json.dumps([1]),
        json.dumps({"predicates": [{"operation": "LIKE", "key": "state", "stringValue": "x"}]}),
        json.dumps({"predicates": [{"operation": "EQUALS", "key": "colour", "stringValue": "x"}]}),
        json.dumps({"predicates": [{"operation": "EQUALS", "key": "state"}]}),
    ],
)
def test_a_filter_that_cannot_be_understood_is_refused(text):
    """It never silently means "everything"."""
    with pytest.raises(ApiError) as refused:
        listing.select(RUNS, text)
    assert refused.value.status == 400


@pytest.mark.parametrize("sort_by", ["", "created_at desc", "display_name", "display_name desc"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_pages_hold_everything_once_and_in_order(sort_by, size):
    """Whatever the page size, the pages put together are the sorted list."""
    whole, _ = listing.page(RUNS, "run", page_size=100, page_token="", sort_by=sort_by)
    seen, token = [], ""
    while True:
        page, token = listing.page(RUNS, "run", page_size=size, page_token=token, sort_by=sort_by)
        assert 0 < len(page) <= size
        seen += page
        if not token:
            break
    assert seen == whole
    assert len(seen) == len(RUNS)


def test_page_sizes_have_a_default_and_a_most():
    """0 means 20, and nobody gets more than 200."""
    many = [{"run_id": f"{number:04d}", "created_at": f"{number:04d}"} for number in range(300)]
    for asked, given in ((0, 20), (150, 150), (1000, 200)):
        page, _ = listing.page(many, "run", page_size=asked, page_token="", sort_by="")
        assert len(page) == given


@pytest.mark.parametrize(
    "wrong", [{"page_size": -1}, {"page_token": "?"}, {"sort_by": "colour"}, {"sort_by": "state up"}], ids=str
)
def test_a_wrong_request_for_a_page_is_refused(wrong):
    """A negative size, an unknown token, an unknown field or direction."""
    with pytest.raises(ApiError) as refused:
        listing.page(RUNS, "run", **{"page_size": 5, "page_token": "", "sort_by": "", **wrong})
    assert refused.value.status == 400
