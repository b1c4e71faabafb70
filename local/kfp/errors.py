"""The API's errors in the form of KFP's grpc-gateway v2: a google.rpc.Status with `code`, `message`, `details`.

Read in upstream 2.17.0: backend/src/common/util/error.go (`message` is the internal one with its prefixes, `details`
has
the external one), and grpc-gateway/v2/runtime/errors.go (the HTTP status of a code).
"""

from collections.abc import Iterator
from contextlib import contextmanager

HTTP = {3: 400, 5: 404, 6: 409, 7: 403, 9: 400, 10: 409, 12: 501, 13: 500, 14: 503, 16: 401}
INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED = 3, 5, 6, 7
FAILED_PRECONDITION, ABORTED, INTERNAL, UNAVAILABLE, UNAUTHENTICATED = 9, 10, 13, 14, 16


class ApiError(Exception):
    """An error; `code` is gRPC's, `external` is KFP's message for the user (None: the gateway itself refuses)."""

    def __init__(self, status: int, code: int, message: str, external: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.external = external

    def body(self) -> dict[str, object]:
        """Return the JSON body. The gateway's own errors have no details."""
        body: dict[str, object] = {"code": self.code, "message": self.message}
        if self.external is not None:
            detail = {"@type": "type.googleapis.com/google.rpc.Status", "code": self.code, "message": self.external}
            body["details"] = [detail]
        return body


def refusal(code: int, kind: str, message: str) -> ApiError:
    """A `UserError`: `kind` precedes only the internal message."""
    return ApiError(HTTP[code], code, f"{kind}: {message}", message)


def invalid(message: str) -> ApiError:
    """400: the request is invalid."""
    return refusal(INVALID_ARGUMENT, "Invalid input error", message)


def not_found(kind: str, name: str) -> ApiError:
    """404: the object does not exist."""
    return refusal(NOT_FOUND, "ResourceNotFoundError", f"{kind} {name} not found")


def exists(kind: str, name: str) -> ApiError:
    """409: the name is in use."""
    message = f"Failed to create a new {kind}. The name {name} already exists. Please specify a new name"
    return refusal(ALREADY_EXISTS, "Already exist error", message)


def internal(doing: str, cause: ApiError) -> ApiError:
    """`NewInternalServerError`: a 500 for any cause. The user gets no details."""
    return ApiError(500, INTERNAL, f"InternalServerError: {doing}: {cause.message}", "Internal Server Error")


@contextmanager
def doing(what: str) -> Iterator[None]:
    """`util.Wrap`: prefix an error's message with the failed operation. The code stays."""
    try:
        yield
    except ApiError as error:
        raise ApiError(error.status, error.code, f"{what}: {error.message}", error.external) from error
