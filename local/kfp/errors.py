"""What the API refuses, as grpc-gateway says it: an HTTP status and a body of `error`, `code`, `message`, `details`."""


class ApiError(Exception):
    """A refusal; `code` is the gRPC status code that the real server sends beside the HTTP status."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    def body(self) -> dict[str, object]:
        """The JSON body."""
        return {"error": self.message, "code": self.code, "message": self.message, "details": []}


def invalid(message: str) -> ApiError:
    """The request can never be right as it is (400)."""
    return ApiError(400, 3, f"Invalid input error: {message}")


def not_found(kind: str, name: str) -> ApiError:
    """There is no such thing (404)."""
    return ApiError(404, 5, f"ResourceNotFoundError: {kind} {name} not found")


def exists(kind: str, name: str) -> ApiError:
    """The name is taken (409)."""
    return ApiError(409, 6, f"Already exist error: {kind} {name} already exists")
