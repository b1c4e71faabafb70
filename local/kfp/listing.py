"""How KFP lists: a filter of predicates (decoded twice), one sort key, pages by token."""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote_plus

from local.kfp.errors import invalid
from local.kfp.store import Document

DEFAULT_PAGE = 20
LARGEST_PAGE = 200
KEYS = frozenset({"display_name", "name", "id", "created_at", "finished_at", "scheduled_at", "state", "storage_state"})

# The SDK sends an operation as its number, people as its name.
OPERATIONS: Mapping[str | int, Callable[[Any, Any], bool]] = {
    name: compare
    for names, compare in (
        (("EQUALS", 1), lambda found, wanted: found == wanted),
        (("NOT_EQUALS", 2), lambda found, wanted: found != wanted),
        (("GREATER_THAN", 3), lambda found, wanted: found > wanted),
        (("GREATER_THAN_EQUALS", 5), lambda found, wanted: found >= wanted),
        (("LESS_THAN", 6), lambda found, wanted: found < wanted),
        (("LESS_THAN_EQUALS", 7), lambda found, wanted: found <= wanted),
        (("IN", 8), lambda found, wanted: found in wanted),
        (("IS_SUBSTRING", 9), lambda found, wanted: str(wanted).lower() in str(found).lower()),
    )
    for name in names
}
VALUES = ("stringValue", "string_value", "intValue", "longValue", "timestampValue", "timestamp_value")
LISTS = ("stringValues", "string_values", "intValues", "longValues")


def select(documents: Sequence[Document], text: str | None) -> list[Document]:
    """The documents for which every predicate of the filter holds.

    Raises:
        ApiError: 400, the filter is not JSON, or names an unknown key or operation.
    """
    if not text:
        return list(documents)
    try:
        # The framework has decoded it once, and the server does it again: "+" and "%" do not survive.
        predicates = [_predicate(one) for one in json.loads(unquote_plus(text)).get("predicates", [])]
    except (ValueError, AttributeError) as error:
        raise invalid(f"filter cannot be read: {error}") from error
    return [document for document in documents if all(holds(document) for holds in predicates)]


def page(
    documents: Sequence[Document], kind: str, *, page_size: int, page_token: str, sort_by: str
) -> tuple[list[Document], str]:
    """One page and the token of the next one, which is "" on the last page."""
    if page_size < 0:
        raise invalid(f"page_size is {page_size}; it must not be negative")
    size = min(page_size or DEFAULT_PAGE, LARGEST_PAGE)
    key, descending = _order(sort_by)
    id_key = f"{kind}_id"
    ordered = sorted(documents, key=lambda one: (str(one.get(key, "")), one[id_key]), reverse=descending)
    start = 0
    if page_token:
        after = _after(page_token, sort_by)
        ids = [one[id_key] for one in ordered]
        start = ids.index(after) + 1 if after in ids else len(ids)
    chosen = ordered[start : start + size]
    more = start + size < len(ordered)
    return chosen, _token(chosen[-1][id_key], sort_by) if more else ""


def _predicate(told: Mapping[str, Any]) -> Callable[[Document], bool]:
    key, operation = told.get("key", ""), told.get("operation", "")
    if key not in KEYS:
        raise invalid(f"filter has the unknown key {key!r}")
    if operation not in OPERATIONS:
        raise invalid(f"filter has the unknown operation {operation!r}")
    wanted = next((told[name] for name in VALUES if name in told), None)
    if wanted is None:
        wanted = next((told[name].get("values", []) for name in LISTS if name in told), None)
    if wanted is None:
        raise invalid(f"the filter's predicate on {key} has no value")
    compare = OPERATIONS[operation]
    return lambda document: compare(document.get(key, ""), wanted)


def _order(sort_by: str) -> tuple[str, bool]:
    words = sort_by.split()
    if not words:
        return "created_at", False
    if words[0] not in KEYS or len(words) > 2 or words[1:] not in ([], ["asc"], ["desc"]):
        raise invalid(f"sort_by is {sort_by!r}; it takes a field, and asc or desc")
    return words[0], words[1:] == ["desc"]


def _token(last: str, sort_by: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([last, sort_by]).encode()).decode()


def _after(token: str, sort_by: str) -> str:
    try:
        last, sorted_by = json.loads(base64.urlsafe_b64decode(token))
    except ValueError as error:
        raise invalid(f"page_token {token!r} cannot be read") from error
    if sort_by and sorted_by != sort_by:
        raise invalid("page_token belongs to another sort_by")
    return str(last)
