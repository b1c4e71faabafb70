"""The `Status` objects of an API server (k8s.io/apimachinery, `pkg/api/errors`)."""

from collections.abc import Sequence
from typing import Any

from local.argocd.fields import Cause

GROUP, RESOURCE, KIND = "argoproj.io", "applications", "Application"


class StatusError(Exception):
    """An error response of an API server."""

    def __init__(self, code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.details = code, reason, message, details

    def status(self) -> dict[str, Any]:
        """Return the `Status` object that the client receives."""
        status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": self.details,
            "code": self.code,
        }
        return {name: value for name, value in status.items() if value or name == "metadata"}


def of(name: str) -> dict[str, Any]:
    """Return the `details` that name an object."""
    return {"name": name, "group": GROUP, "kind": RESOURCE}


def bad_request(message: str) -> StatusError:
    """400."""
    return StatusError(400, "BadRequest", message)


def invalid(kind: str, name: str, causes: Sequence[Cause]) -> StatusError:
    """422; `kind` as `Kind.group`, "" for a patch that cannot be decoded."""
    entries = [
        {"reason": reason, "message": message.partition(": ")[2], "field": field} for reason, message, field in causes
    ]
    words = [message for _, message, _ in causes]
    all_of_them = words[0] if len(words) == 1 else f"[{', '.join(words)}]"
    short, _, group = kind.partition(".")
    details: dict[str, Any] = {"name": name, "group": group, "kind": short, "causes": entries}
    details = {field: value for field, value in details.items() if value}
    return StatusError(422, "Invalid", f'{kind} "{name}" is invalid: {all_of_them}', details)


def conflict(name: str, words: str, causes: Sequence[dict[str, str]] = ()) -> StatusError:
    """409."""
    details = {**of(name), **({"causes": list(causes)} if causes else {})}
    return StatusError(409, "Conflict", words, details)


def stale(name: str) -> StatusError:
    """409 for a resourceVersion that is not the live one."""
    words = (
        f'Operation cannot be fulfilled on {RESOURCE}.{GROUP} "{name}": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    return conflict(name, words)


def not_found(name: str) -> StatusError:
    """404."""
    return StatusError(404, "NotFound", f'{RESOURCE}.{GROUP} "{name}" not found', of(name))


def forbidden(user: str, verb: str, resource: str, group: str, namespace: str, name: str) -> StatusError:
    """403 of the RBAC authorizer."""
    what = f'{resource}.{group} "{name}"' if name else f"{resource}.{group}"
    words = (
        f'{what} is forbidden: User "{user}" cannot {verb} resource "{resource}" in API group "{group}" '
        f'in the namespace "{namespace}"'
    )
    details = {"name": name, "group": group, "kind": resource}
    return StatusError(403, "Forbidden", words, {field: value for field, value in details.items() if value})


def denied(name: str, words: str) -> StatusError:
    """422 of a ValidatingAdmissionPolicy (apiserver, `plugin/policy/validating/dispatcher.go`)."""
    details = {**of(name), "causes": [{"message": words}]}
    return StatusError(422, "Invalid", f'{RESOURCE}.{GROUP} "{name}" is forbidden: {words}', details)


def unavailable() -> StatusError:
    """503 of a server that has not started yet."""
    return StatusError(503, "ServiceUnavailable", "the server is currently unable to handle the request")


def too_large(limit: int) -> StatusError:
    """413."""
    return StatusError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit}")
