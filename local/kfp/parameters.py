"""Validates a run's parameters, and converts JSON's numbers for a component."""

from typing import Any

from local.kfp.errors import invalid
from local.kfp.store import Document

# parameterType → JSON's types, and upstream's name for them.
KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "NUMBER_DOUBLE": ((int, float), "double or integer, but the parameter value is not of number value type"),
    "NUMBER_INTEGER": ((int, float), "double or integer, but the parameter value is not of number value type"),
    "STRING": ((str,), "string, but the input parameter is not of string value type"),
    "BOOLEAN": ((bool,), "bool, but the input parameter is not of bool value type"),
    "LIST": ((list,), "list, but the input parameter is not of list value type"),
    "STRUCT": ((dict,), "struct, but the input parameter is not of struct value type"),
}
LARGEST = 1e21  # from this value on Go writes a float with an exponent


def check_arguments(spec: Document, given: dict[str, Any]) -> dict[str, Any]:
    """Check that the pipeline accepts all arguments, with the right types, and gets all that it requires.

    The rules of upstream 2.17.0, backend/src/apiserver/template/v2_template.go, validatePipelineJobInputs.

    Raises:
        ApiError: 400, the message names the parameter.
    """
    declared = spec.get("pipeline_spec", spec)["root"].get("inputDefinitions", {}).get("parameters", {})
    for name, one in declared.items():
        if name in given:
            _typed(name, given[name], one.get("parameterType", ""))
        elif "defaultValue" not in one and not one.get("isOptional"):
            raise invalid(f"parameter {name} is not optional, yet has neither default value nor user provided value")
    if unknown := sorted(set(given) - set(declared)):
        raise invalid(f"parameter(s) provided are not required by pipeline: {', '.join(unknown)}")
    return {name: whole(value) for name, value in given.items()}


def whole(value: Any) -> Any:
    """Convert whole floats to ints at any depth, as Go writes a protobuf number: 2.0 as `2`."""
    if isinstance(value, dict):
        return {name: whole(one) for name, one in value.items()}
    if isinstance(value, list):
        return [whole(one) for one in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < LARGEST:
        return int(value)
    return value


def _typed(name: str, value: Any, kind: str) -> None:
    if kind not in KINDS:
        raise invalid(f"input parameter {name} requires type unknown")
    types, message = KINDS[kind]
    if not isinstance(value, types) or (isinstance(value, bool) and kind != "BOOLEAN"):
        raise invalid(f"input parameter {name} requires type {message}")
