"""Query parameters of a write, validated like PatchOptions and UpdateOptions (apimachinery, `meta/v1/validation`)."""

from flask import request

from local.argocd.errors import invalid
from local.argocd.fields import REQUIRED, UNSUPPORTED, Cause
from local.argocd.record import WriteOptions

MANAGER_LIMIT = 128  # bytes
VALIDATIONS = ("Ignore", "Strict", "Warn")


def write_options(user: str, duplicates: list[str] | None = None, *, apply: bool = False) -> WriteOptions:
    """Return the write options of the current request. Raises StatusError (422)."""
    arguments = request.args
    dry, validation = arguments.getlist("dryRun"), arguments.get("fieldValidation") or "Warn"
    manager = arguments.get("fieldManager", "")
    wrong: list[Cause] = [
        (UNSUPPORTED, f'dryRun: Unsupported value: "{value}": supported values: "All"', "dryRun")
        for value in dry
        if value != "All"
    ]
    if validation not in VALIDATIONS:
        known = ", ".join(f'"{name}"' for name in ("", *VALIDATIONS))
        words = f'fieldValidation: Unsupported value: "{validation}": supported values: {known}'
        wrong.append((UNSUPPORTED, words, "fieldValidation"))
    if len(manager.encode()) > MANAGER_LIMIT:
        words = f"fieldManager: Too long: may not be more than {MANAGER_LIMIT} bytes"
        wrong.append(("FieldValueTooLong", words, "fieldManager"))
    if apply and not manager:
        wrong.append((REQUIRED, "fieldManager: Required value: is required for apply patch", "fieldManager"))
    if not apply and "force" in arguments:
        words = "force: Forbidden: may not be specified for non-apply patch"
        wrong.append(("FieldValueForbidden", words, "force"))
    if wrong:
        raise invalid("PatchOptions.meta.k8s.io", "", wrong)
    agent = request.headers.get("User-Agent", "unknown").split("/")[0]
    return WriteOptions(manager or agent, user, validation, "All" in dry, list(duplicates or ()))


def force() -> bool:
    """Return whether an apply takes over fields of other managers."""
    return request.args.get("force") == "true"
