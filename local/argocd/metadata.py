"""ObjectMeta's rules for an update (k8s.io/apimachinery, `pkg/api/validation/objectmeta.go`)."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from local.argocd.errors import bad_request
from local.argocd.fields import INVALID, Cause

ANNOTATIONS_LIMIT = 256 * 1024  # bytes of all keys and values together
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")


def names_match(metadata: Mapping[str, Any], namespace: str, name: str) -> None:
    """Raise StatusError (400) unless the object is the one in the URL."""
    if metadata.get("namespace", namespace) != namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    if metadata.get("name", "") != name:
        found = metadata.get("name", "")
        raise bad_request(f"the name of the object ({found}) does not match the name on the URL ({name})")


def problems(metadata: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[Cause]:
    """Yield what ObjectMeta forbids."""
    if metadata.get("uid") and metadata["uid"] != old["uid"]:
        yield INVALID, f'metadata.uid: Invalid value: "{metadata["uid"]}": field is immutable', "metadata.uid"
    if metadata.get("deletionTimestamp") != old.get("deletionTimestamp"):
        words = "metadata.deletionTimestamp: Invalid value: field is immutable; may only be changed via deletion"
        yield INVALID, words, "metadata.deletionTimestamp"
    for field in ("annotations", "labels"):
        for key in metadata.get(field, {}):
            prefix, slash, name = key.lower().rpartition("/") if field == "annotations" else key.rpartition("/")
            ill = not NAME.fullmatch(name) or len(name) > 63 or (slash and not SUBDOMAIN.fullmatch(prefix))
            if ill:
                rule = "name part must consist of alphanumeric characters, '-', '_' or '.'"
                yield INVALID, f'metadata.{field}: Invalid value: "{key}": {rule}', f"metadata.{field}"
    for value in metadata.get("labels", {}).values():
        if len(value) > 63 or not LABEL_VALUE.fullmatch(value):
            rule = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.'"
            yield INVALID, f'metadata.labels: Invalid value: "{value}": {rule}', "metadata.labels"
    size = sum(len(key.encode()) + len(value.encode()) for key, value in metadata.get("annotations", {}).items())
    if size > ANNOTATIONS_LIMIT:
        words = f"metadata.annotations: Too long: may not be more than {ANNOTATIONS_LIMIT} bytes"
        yield "FieldValueTooLong", words, "metadata.annotations"
