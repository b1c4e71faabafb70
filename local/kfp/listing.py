"""Lists as KFP does: a filter, one sort key, and pages by a token that holds both. A page reads only its own rows.

Read in upstream 2.17.0: backend/src/apiserver/list/list.go and server/list_request_util.go (validatedListOptions).
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from local.kfp import filters
from local.kfp.errors import invalid
from local.kfp.store import Document, DocumentStore

DEFAULT_PAGE = 20
LARGEST_PAGE = 200
MISMATCH = (
    "page token does not match the supplied sort by and/or filtering criteria. "
    "Either specify the same criteria or leave the latter empty if page token is specified"
)


@dataclass(frozen=True)
class ListRequest:
    """The parameters of a List… request."""

    page_size: int = 0
    page_token: str = ""
    sort_by: str = ""
    filter: str = ""


@dataclass(frozen=True)
class ListOptions:
    """Filter and order of a list; `after` is the sort value and the id of the next row."""

    key: str
    descending: bool
    predicates: Sequence[filters.Predicate]
    after: tuple[Any, str] | None = None


@dataclass(frozen=True)
class Page:
    """`total` counts all rows that match the filter; `token` is "" on the last page."""

    documents: list[Document]
    total: int
    token: str


def page(
    store: DocumentStore,
    kind: str,
    request: ListRequest,
    scope: str | None = None,
    hidden: Sequence[str] = (),
    within: str = "",
) -> Page:
    """Return one page of a kind, without the hidden ids. `scope` and the namespace `within` limit it further.

    Raises:
        ApiError: 400, page size, token, sort key or filter are invalid.
    """
    size = _size(request.page_size)
    options = _options(kind, request)
    clauses = [("scope = ?", [scope])] if scope is not None else []
    clauses += [filters.sql(kind, one) for one in options.predicates]
    if within:
        clauses.append((filters.FIELDS["run"]["namespace"] + " = ?", [within]))
    if hidden:
        clauses.append((f"id NOT IN ({', '.join('?' * len(hidden))})", list(hidden)))
    total = store.count(kind, *_all_of(clauses))
    field = filters.FIELDS[kind][options.key]
    if options.after:
        clauses.append((f"({field}, id) {'<=' if options.descending else '>='} (?, ?)", list(options.after)))
    order = "DESC" if options.descending else "ASC"
    rest = f"ORDER BY {field} {order}, id {order} LIMIT {size + 1}"
    found = store.find(kind, *_all_of(clauses), rest)
    token = _token(options, kind, found[size]) if len(found) > size else ""
    return Page(found[:size], total, token)


def _all_of(clauses: Sequence[tuple[str, list[Any]]]) -> tuple[str, list[Any]]:
    return " AND ".join(sql for sql, _ in clauses) or "1", [value for _, values in clauses for value in values]


def _size(request: int) -> int:
    if request < 0:
        raise invalid(f"The page size should be greater than 0. Got {request}")
    return min(request or DEFAULT_PAGE, LARGEST_PAGE)


def _options(kind: str, request: ListRequest) -> ListOptions:
    if not request.page_token:
        return _options_of(kind, request)
    options = _from_token(kind, request.page_token)
    if request.sort_by or request.filter:
        wanted = _options_of(kind, request)
        same = (wanted.key, wanted.descending) == (options.key, options.descending)
        if not same or sorted(map(repr, wanted.predicates)) != sorted(map(repr, options.predicates)):
            raise invalid(MISMATCH)
    return options


def _options_of(kind: str, request: ListRequest) -> ListOptions:
    words = request.sort_by.lower().split()
    if len(words) > 2 or words[1:] not in ([], ["asc"], ["desc"]):
        raise invalid(
            f'Received invalid sort by format "{request.sort_by}". '
            'Supported format: "field_name", "field_name desc", or "field_name asc"'
        )
    key = words[0] if words else "created_at"
    if key not in filters.FIELDS[kind]:
        raise invalid(f'Invalid sorting field: "{key}" on listable type {kind}')
    return ListOptions(key, words[1:] == ["desc"], filters.parse(request.filter))


def _token(options: ListOptions, kind: str, following: Document) -> str:
    key = {"id": f"{kind}_id", "status": "state"}.get(options.key, options.key)
    if key == "name" and kind not in ("pipeline", "pipeline_version"):
        key = "display_name"
    value = following.get(key, "")
    fields = {
        "ModelName": kind,
        "SortByFieldName": options.key,
        "SortByFieldValue": value,
        "KeyFieldValue": following[f"{kind}_id"],
        "IsDesc": options.descending,
        "Filter": list(options.predicates),
    }
    return base64.b64encode(json.dumps(fields).encode()).decode()


def _from_token(kind: str, token: str) -> ListOptions:
    try:
        fields = json.loads(base64.b64decode(token, validate=True))
        predicates = [(operation, key, value) for operation, key, value in fields["Filter"]]
        options = ListOptions(
            fields["SortByFieldName"],
            bool(fields["IsDesc"]),
            predicates,
            (fields["SortByFieldValue"], fields["KeyFieldValue"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise invalid("Invalid page token") from error
    if fields["ModelName"] != kind or options.key not in filters.FIELDS[kind]:
        raise invalid("Invalid page token")
    return options
