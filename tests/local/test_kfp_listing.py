"""Filters, sorting and pages, as upstream 2.17.0 has them (backend/src/apiserver/{filter,list,server}).

filter/filter_test.go, list/list_test.go and server/list_request_util_test.go hold the same rules.
"""

import json
from urllib.parse import quote

import pytest

from local.kfp import filters, listing
from local.kfp.errors import ApiError
from local.kfp.listing import ListRequest
from local.kfp.store import DocumentStore

RUNS = [
    {
        "run_id": f"id-{number}",
        "experiment_id": "even" if number % 2 == 0 else "odd",
        "display_name": f"fraud-{number % 3}.train.{number}",
        "state": "FAILED" if number % 2 else "SUCCEEDED",
        "created_at": f"2026-11-24T09:00:{number // 2:02d}Z",  # two in each second
        "finished_at": "1970-01-01T00:00:00Z",
    }
    for number in range(7)
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    made = DocumentStore(tmp_path_factory.mktemp("listing") / "kfp.sqlite")
    for run in RUNS:
        made.put("run", run["run_id"], run)
    yield made
    made.close()


@pytest.fixture
def matching(store):
    def go(*predicates):
        asked = ListRequest(filter=json.dumps({"predicates": list(predicates)}))
        return [one["run_id"] for one in listing.page(store, "run", asked).documents]

    return go


@pytest.mark.parametrize(
    ("operation", "value", "found"),
    [
        ("EQUALS", "fraud-1.train.4", ["id-4"]),
        (1, "fraud-1.train.4", ["id-4"]),
        ("IS_SUBSTRING", "FRAUD-1.", ["id-1", "id-4"]),
        (9, "fraud-1.", ["id-1", "id-4"]),
        (9, "fraud_1.", ["id-1", "id-4"]),  # filter.go: `fmt.Sprintf("%%%s%%", v)`, so `_` is a wildcard
        ("NOT_EQUALS", "fraud-1.train.4", ["id-0", "id-1", "id-2", "id-3", "id-5", "id-6"]),
    ],
)
def test_an_operation_is_a_name_or_the_number_that_the_sdk_sends(matching, operation, value, found):
    """Both forms mean the same; IS_SUBSTRING is a LIKE and does not heed case."""
    assert matching({"operation": operation, "key": "display_name", "stringValue": value}) == found


def test_all_predicates_must_hold(matching):
    """Predicates are joined by AND; IN takes a list; a time compares in whole seconds, as CreatedAtInSec does."""
    failed = {"operation": "IN", "key": "state", "stringValues": {"values": ["FAILED"]}}
    for name, value in (("timestampValue", "2026-11-24T09:00:01.9Z"), ("timestamp_value", "2026-11-24T08:00:01-01:00")):
        assert matching(failed, {"operation": "GREATER_THAN", "key": "created_at", name: value}) == ["id-5"]
    bounds = [
        {"operation": "GREATER_THAN_EQUALS", "key": "created_at", "long_value": "1795510801"},
        {"operation": "LESS_THAN_EQUALS", "key": "created_at", "int_value": 1795510801},
    ]
    assert matching(*bounds) == ["id-2", "id-3"]


def test_a_filter_is_decoded_once_more_than_the_framework_does():
    """So an encoded filter is understood, and `+` and `%` do not survive in a name."""
    text = json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": "a+b"}]})
    assert filters.parse(text) == [("EQUALS", "display_name", "a b")]
    assert filters.parse(quote(text)) == [("EQUALS", "display_name", "a+b")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no json", "failed to parse valid filter"),
        (json.dumps([1]), "failed to parse valid filter"),
        (json.dumps({"predicate": []}), 'unknown field "predicate"'),
        *[
            (json.dumps({"predicates": [predicate]}), message)
            for predicate, message in [
                ({"operation": "LIKE", "key": "state", "stringValue": "x"}, "Operation"),
                ({"key": "state", "stringValue": "x"}, "Operation"),  # OPERATION_UNSPECIFIED
                ({"operation": "EQUALS", "key": "colour", "stringValue": "x"}, "unrecognized field"),
                ({"operation": "EQUALS", "key": "", "stringValue": "x"}, "key cannot be empty"),
                ({"operation": "EQUALS", "key": "state"}, "Value"),
                ({"operation": "EQUALS", "key": "state", "value": "x"}, 'unknown field "value"'),
                ({"operation": "EQUALS", "key": "state", "stringValue": 7}, "string"),
                ({"operation": "EQUALS", "key": "state", "stringValues": {"values": ["x"]}}, "scalar operator"),
                ({"operation": "IN", "key": "state", "stringValue": "x"}, "IN operator with scalar"),
                ({"operation": "IS_SUBSTRING", "key": "state", "intValue": 7}, "non string"),
                ({"operation": "EQUALS", "key": "created_at", "timestampValue": "noon"}, "failed to parse"),
            ]
        ],
    ],
)
def test_a_filter_that_cannot_be_understood_is_refused(store, text, message):
    """It never silently means "everything"."""
    with pytest.raises(ApiError, match=message) as refused:
        listing.page(store, "run", ListRequest(filter=text))
    assert (refused.value.status, refused.value.code) == (400, 3)


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("run", "run_id id display_name name created_at finished_at description scheduled_at storage_state status "
                "namespace experiment_id state state_history runtime_details recurring_run_id"),
        ("experiment", "id experiment_id name display_name created_at last_run_created_at description namespace "
                       "storage_state"),
        ("recurring_run", "id recurring_run_id name display_name created_at updated_at description"),
        ("pipeline", "id pipeline_id name display_name created_at description namespace"),
        ("pipeline_version", "id pipeline_version_id name display_name created_at status description pipeline_spec"),
    ],
)  # fmt: skip
def test_the_keys_are_upstreams(kind, keys):
    """model/*.go, APIToModelFieldMap."""
    assert sorted(filters.FIELDS[kind]) == sorted(keys.split())


@pytest.mark.parametrize(
    "sort_by", ["", "created_at desc", "display_name", "Display_Name DESC", "id", "state asc", "status", "name desc"]
)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_pages_hold_everything_once_and_in_order(store, sort_by, size):
    """Whatever the page size, the pages put together are the sorted list; a later page needs the token only."""
    whole = listing.page(store, "run", ListRequest(100, sort_by=sort_by)).documents
    seen, token = [], ""
    while True:
        found = listing.page(store, "run", ListRequest(size, token, sort_by if token == "" else ""))
        assert 0 < len(found.documents) <= size
        assert found.total == len(RUNS)
        seen += found.documents
        token = found.token
        if not token:
            break
    assert seen == whole
    assert len(seen) == len(RUNS)


def test_page_sizes_have_a_default_and_a_most(tmp_path):
    """list.go: 0 means 20, and nobody gets more than 200."""
    store = DocumentStore(tmp_path / "kfp.sqlite")
    for number in range(300):
        store.put("run", f"{number:04d}", {"run_id": f"{number:04d}", "created_at": "2026-11-24T09:00:00Z"})
    for asked, given in ((0, 20), (150, 150), (1000, 200)):
        assert len(listing.page(store, "run", ListRequest(asked)).documents) == given
    store.close()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (ListRequest(-1), "page size should be greater"),
        (ListRequest(page_token="?"), "Invalid page token"),
        (ListRequest(page_token="e30="), "Invalid page token"),
        (ListRequest(sort_by="colour"), "Invalid sorting field"),
        (ListRequest(sort_by="state up"), "invalid sort by format"),
        (ListRequest(sort_by="state asc desc"), "invalid sort by format"),
    ],
    ids=str,
)
def test_a_wrong_request_for_a_page_is_refused(store, wrong, message):
    """A negative size, an unknown token, an unknown field or direction."""
    with pytest.raises(ApiError, match=message) as refused:
        listing.page(store, "run", wrong)
    assert refused.value.status == 400


def test_a_page_token_is_bound_to_its_filter_and_sort_key(store):
    """validatedListOptions: the same or none; and what the token holds still selects on later pages."""
    failed = json.dumps({"predicates": [{"operation": "EQUALS", "key": "state", "stringValue": "FAILED"}]})
    first = listing.page(store, "run", ListRequest(2, sort_by="name desc", filter=failed))
    rest = listing.page(store, "run", ListRequest(2, first.token))
    assert [one["run_id"] for one in first.documents + rest.documents] == ["id-5", "id-1", "id-3"]
    assert listing.page(store, "run", ListRequest(2, first.token, "name desc", failed)) == rest
    for sort_by, text in (("name", failed), ("name desc", failed.replace("FAILED", "RUNNING")), ("name desc", "")):
        with pytest.raises(ApiError, match="page token does not match"):
            listing.page(store, "run", ListRequest(2, first.token, sort_by, text))
    with pytest.raises(ApiError, match="Invalid page token"):
        listing.page(store, "experiment", ListRequest(2, first.token))


def test_a_scope_is_an_experiment_and_hidden_runs_do_not_show(store):
    """Nor are they counted."""
    found = listing.page(store, "run", ListRequest(), scope="even", hidden=["id-2"])
    assert ([one["run_id"] for one in found.documents], found.total) == (["id-0", "id-4", "id-6"], 3)


@pytest.mark.parametrize("scope", [None, "even"])
@pytest.mark.parametrize("descending", [False, True])
def test_no_page_scans_or_sorts_all_runs(store, monkeypatch, scope, descending):
    """The index gives a page's order and finds a name, so the cost of a page does not grow with the history."""
    asked = []
    find = store.find

    def finding(*given):
        asked.append(given)
        return find(*given)

    monkeypatch.setattr(store, "find", finding)
    sort_by = "created_at desc" if descending else ""
    token = listing.page(store, "run", ListRequest(2, sort_by=sort_by), scope).token
    listing.page(store, "run", ListRequest(2, token), scope)
    text = json.dumps({"predicates": [{"operation": 9, "key": "display_name", "stringValue": "fraud-1."}]})
    listing.page(store, "run", ListRequest(2, sort_by=sort_by, filter=text), scope)
    assert len(asked) == 3
    for given in asked:
        plan = store.plan(*given)
        assert "SEARCH documents USING INDEX" in plan, plan
        assert "SCAN" not in plan
        assert "TEMP B-TREE" not in plan


def test_a_file_of_an_earlier_version_is_read(tmp_path):
    """Its documents get what the index needs."""
    store = DocumentStore(tmp_path / "kfp.sqlite")
    store._db.executescript(
        "DROP TABLE documents; CREATE TABLE documents (number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, "
        "id TEXT NOT NULL, body TEXT NOT NULL, UNIQUE (kind, id));"
    )
    for run in RUNS:
        store._db.execute(
            "INSERT INTO documents (kind, id, body) VALUES ('run', ?, ?)", (run["run_id"], json.dumps(run))
        )
    store.close()
    store = DocumentStore(tmp_path / "kfp.sqlite")
    assert [one["run_id"] for one in listing.page(store, "run", ListRequest(), scope="odd").documents] == [
        "id-1",
        "id-3",
        "id-5",
    ]
    store.close()
