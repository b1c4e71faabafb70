"""Injects faults into the embedded KFP endpoint: errors, broken connections and duplicate runs, as a test decides."""

import socket
from collections.abc import Callable

from flask import Flask, Response, request
from flask.typing import ResponseReturnValue

from local.kfp.errors import ApiError
from local.kfp.server import CreateRun, Instrument

# Called before each request with its method and path; returns a fault or None.
DecideFault = Callable[[str, str], "int | str | None"]

DROP_BEFORE = "drop-before"  # the connection breaks before the request is executed
DROP_AFTER = "drop-after"  # the request is executed, but its response is lost
DUPLICATE = "duplicate"  # CreateRun is executed twice, as when the first run is not listed yet


def inject(decide: DecideFault) -> Instrument:
    """Returns a hook for `EmbeddedKFP(instrument=…)` that asks `decide` for the fault of each request."""

    def instrument(app: Flask, create_run: CreateRun) -> None:
        @app.before_request
        def before() -> ResponseReturnValue | None:
            fault = request.environ["kfp.fault"] = decide(request.method, request.path)
            if isinstance(fault, int):
                raise ApiError(fault, 16 if fault == 401 else 14, f"injected fault: {fault}")
            if fault == DROP_BEFORE:
                _drop()
                raise ApiError(503, 14, "the connection is closed")  # so that the request is not executed
            if fault == DUPLICATE:
                create_run(request.get_json())
            return None

        @app.after_request
        def after(response: Response) -> Response:
            if request.environ.get("kfp.fault") == DROP_AFTER:
                _drop()
            return response

    return instrument


def _drop() -> None:
    connection: socket.socket = request.environ["werkzeug.socket"]
    connection.shutdown(socket.SHUT_RDWR)
