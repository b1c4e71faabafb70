"""Misbehaviour on demand, for tests of whoever talks to the endpoint; nothing of it happens unless the test asks."""

import socket
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, request
from flask.typing import ResponseReturnValue

from local.kfp.errors import ApiError

# Asked before each request with its method and path; answers a fault or None.
Faults = Callable[[str, str], "int | str | None"]

DROP_BEFORE = "drop-before"  # the connection breaks and nothing was done
DROP_AFTER = "drop-after"  # it was done, and the answer is lost
TWIN = "twin"  # a create is executed twice, as when a workflow was launched that could not be listed yet


def install(app: Flask, faults: Faults, twin: Callable[[dict[str, Any]], Any]) -> None:
    """Have `faults` decide over every request; `twin` creates the second run."""

    @app.before_request
    def before() -> ResponseReturnValue | None:
        fault = request.environ["kfp.fault"] = faults(request.method, request.path)
        if isinstance(fault, int):
            raise ApiError(fault, 16 if fault == 401 else 14, f"fault on demand: {fault}")
        if fault == DROP_BEFORE:
            _drop()
            raise ApiError(503, 14, "nobody hears this")  # so that the request is not executed
        if fault == TWIN:
            twin(request.get_json())
        return None

    @app.after_request
    def after(response: Response) -> Response:
        if request.environ.get("kfp.fault") == DROP_AFTER:
            _drop()
        return response


def _drop() -> None:
    connection: socket.socket = request.environ["werkzeug.socket"]
    connection.shutdown(socket.SHUT_RDWR)
