"""What the API refuses, as KFP's grpc-gateway v2 says it: a JSON google.rpc.Status with `code`, `message`, `details`.

Read in upstream 2.17.0: backend/src/common/util/error.go (the message is the internal one, with what was being done
before it; the external one stands in `details`), and grpc-gateway/v2/runtime/errors.go (the HTTP status of a code).
"""

from collections.abc import Iterator
from contextlib import contextmanager

HTTP = {3: 400, 5: 404, 6: 409, 7: 403, 9: 400, 10: 409, 12: 501, 13: 500, 14: 503, 16: 401}
INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED = 3, 5, 6, 7
FAILED_PRECONDITION, ABORTED, INTERNAL, UNAVAILABLE, UNAUTHENTICATED = 9, 10, 13, 14, 16


class ApiError(Exception):
    """A refusal; `code` is gRPC's, `external` what KFP tells the user besides (None: the gateway itself refuses)."""

    def __init__(self, status: int, code: int, message: str, external: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.external = external

    def body(self) -> dict[str, object]:
        """The JSON body; the gateway's own errors have no details."""
        body: dict[str, object] = {"code": self.code, "message": self.message}
        if self.external is not None:
            detail = {"@type": "type.googleapis.com/google.rpc.Status", "code": self.code, "message": self.external}
            body["details"] = [detail]
        return body


def refusal(code: int, kind: str, message: str) -> ApiError:
    """A `UserError`: `kind` stands before the internal message only."""
    return ApiError(HTTP[code], code, f"{kind}: {message}", message)


def invalid(message: str) -> ApiError:
    """The request can never be right as it is (400)."""
    return refusal(INVALID_ARGUMENT, "Invalid input error", message)


def not_found(kind: str, name: str) -> ApiError:
    """There is no such thing (404)."""
    return refusal(NOT_FOUND, "ResourceNotFoundError", f"{kind} {name} not found")


def exists(kind: str, name: str) -> ApiError:
    """The name is taken (409)."""
    message = f"Failed to create a new {kind}. The name {name} already exists. Please specify a new name"
    return refusal(ALREADY_EXISTS, "Already exist error", message)


def internal(doing: str, cause: ApiError) -> ApiError:
    """`NewInternalServerError`: whatever the cause was, it is a 500, and the user is told no more than that."""
    return ApiError(500, INTERNAL, f"InternalServerError: {doing}: {cause.message}", "Internal Server Error")


@contextmanager
def doing(what: str) -> Iterator[None]:
    """`util.Wrap`: say before an error's message what failed; its code stays."""
    try:
        yield
    except ApiError as error:
        raise ApiError(error.status, error.code, f"{what}: {error.message}", error.external) from error
