"""Parses a request's body like KFP's gateway: protojson with `DiscardUnknown: false`, so unknown fields are errors.

Read in upstream 2.17.0: backend/src/apiserver/common/utils.go (CustomMarshaler). The fields are those of the generated
client, `kfp_server_api`. A name may be written in snake_case or lowerCamelCase.
"""

import json
import re
from typing import Any

import kfp_server_api

from local.kfp.errors import INVALID_ARGUMENT, ApiError
from local.kfp.store import Document

CAPITAL = re.compile(r"(?<=[a-z0-9])([A-Z])")
TYPES: dict[str, type] = {"str": str, "bool": bool, "datetime": str}
INT64 = frozenset({"max_concurrency", "interval_second"})  # the generated client accepts protojson's text for them
ONE_OF = (
    ("pipeline_version_id", "pipeline_spec", "pipeline_version_reference"),
    ("cron_schedule", "periodic_schedule"),
)


def read(body: bytes, message: str) -> Document:
    """Parse the message in a body, with fields in snake_case. An empty body is an empty message.

    Raises:
        ApiError: 400, it is not JSON, contains NaN, a duplicate or unknown field, or a field of the wrong type.
    """
    try:
        document = json.loads(body or b"{}", parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_once)
        if not isinstance(document, dict):
            raise ValueError("unexpected token")
        return _fields(document, message)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, INVALID_ARGUMENT, f"proto: {error}") from error


def _fields(document: Document, message: str) -> Document:
    model = getattr(kfp_server_api, message)
    found: Document = {}
    for given, value in document.items():
        name = given if given in model.openapi_types else CAPITAL.sub(r"_\1", given).lower()
        if name not in model.openapi_types:
            raise ValueError(f'unknown field "{given}"')
        if name in found:
            raise ValueError(f'duplicate field "{given}"')
        if value is not None:  # protojson: null leaves a field unset
            found[name] = _value(name, value, model.openapi_types[name])
    for names in ONE_OF:
        if len(twice := [name for name in names if name in found]) > 1:
            raise ValueError(f"error parsing {json.dumps(twice[1])}, oneof is already set")
    return found


def _value(name: str, value: Any, kind: str) -> Any:
    if kind in ("object", "dict(str, object)", "dict(str, str)"):
        if not isinstance(value, dict):
            raise ValueError(f"unexpected token for field {name}")
        return value
    if kind.startswith("list["):
        if not isinstance(value, list):
            raise ValueError(f"unexpected token for field {name}")
        return [_value(name, one, kind[5:-1]) for one in value]
    if name in INT64:
        if isinstance(value, bool | float) or not re.fullmatch(r"-?[0-9]+", str(value)):
            raise ValueError(f"invalid value for int64 field {name}: {json.dumps(value)}")
        return str(value)
    if kind in TYPES:
        if not isinstance(value, TYPES[kind]):
            raise ValueError(f"invalid value for {kind} field {name}: {json.dumps(value)}")
        return value
    model = getattr(kfp_server_api, kind, None)
    if model is None or not isinstance(value, dict):
        allowed = getattr(model, "allowable_values", None)
        if allowed and value not in allowed:
            raise ValueError(f"invalid value for enum field {name}: {json.dumps(value)}")
        return value
    return _fields(value, kind)


def _once(pairs: list[tuple[str, Any]]) -> Document:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError(f"duplicate field {json.dumps(next(name for name in names if names.count(name) > 1))}")
    return dict(pairs)


def _no_constant(text: str) -> Any:
    raise ValueError(f"invalid value {text}")


def _finite(text: str) -> float:
    if (number := float(text)) in (float("inf"), float("-inf")):
        raise ValueError(f"number {text} out of range")
    return number
