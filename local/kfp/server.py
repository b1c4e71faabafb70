"""The embedded KFP endpoint: v2beta1 REST on loopback over `kfp.local`, one process per run.

A stand-in for the KFP API server, Argo and Kubernetes on one machine. Images, resources, nodes, service accounts and
remote pipeline roots have no effect. States, errors, filters and pages are those of KFP 2.17.0.
"""

import logging
import os
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from flask import Flask, request
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from local.kfp import clock
from local.kfp.access import KfpAccess, User
from local.kfp.api import create_app
from local.kfp.errors import ApiError
from local.kfp.launcher import Launcher
from local.kfp.pipelines import Registry
from local.kfp.recurring import RecurringRuns
from local.kfp.runs import RunService
from local.kfp.serving import Services
from local.kfp.store import DocumentStore

CreateRun = Callable[[dict[str, Any]], Any]
Instrument = Callable[[Flask, CreateRun], None]


class EmbeddedKFP:
    """One endpoint. `state` holds its database, logs (`runs/<id>/log.txt`) and artifacts.

    `environment` is inherited by the steps (default: ours at the start). `token` is the bearer token that clients need.
    The
    other arguments are for tests. `now` is the clock of times and triggers. `tick` is the interval of trigger checks
    (0:
    only by `recurring.tick()`). `listing_lag` is how many seconds a new run is missing in lists. `users` are those of a
    multi-user KFP by token. `tls` names the files of a certificate and its key. `instrument` may add hooks to the
    server.
    """

    def __init__(
        self,
        state: Path | str,
        port: int = 0,
        *,
        root: str = "",
        environment: Mapping[str, str] | None = None,
        token: str | None = None,
        parallelism: int = 4,
        grace: float = 2.0,
        now: clock.Clock = clock.now,
        tick: float = 0.5,
        listing_lag: float = 0.0,
        instrument: Instrument | None = None,
        users: Mapping[str, User] | None = None,
        tls: tuple[str, str] | None = None,
    ) -> None:
        self.state = Path(state).resolve()
        self.url = ""
        self._port, self._root, self._environment = port, root, environment
        self._token, self._parallelism, self._grace = token, parallelism, grace
        self._now, self._tick, self._lag, self._instrument = now, tick, listing_lag, instrument
        self.access, self._tls = KfpAccess(users), tls
        self._server: BaseWSGIServer | None = None

    def start(self) -> "EmbeddedKFP":
        """Listen, and fail the runs that were executing when the last server died."""
        folder = self.state / "runs"
        folder.mkdir(parents=True, exist_ok=True)
        self._store = DocumentStore(self.state / "kfp.sqlite")
        self.registry = Registry(self._store, self._now)
        environment = os.environ if self._environment is None else self._environment
        self._launcher = Launcher(self.state, environment, self._parallelism, self._grace)
        self.runs = RunService(self._store, self.registry, self._launcher, folder, self._root, self._now)
        self.runs.recover()
        self._launcher.open(self.runs)
        self.recurring = RecurringRuns(self._store, self.registry, self.runs, self._now)
        self._serve()
        return self

    def stop(self) -> None:
        """Stop listening and end every run. Runs that had not ended are FAILED."""
        if self._server is None:
            return
        self._stopped.set()
        self._server.shutdown()
        for thread in self._threads:
            thread.join(10)
        self._server.server_close()
        self._server = None
        self.runs.abandon("the server was stopped while the run was executing")
        self._launcher.close()
        self._store.close()

    def log_of(self, run_id: str) -> Path:
        """Return the file with the output of a run."""
        return self.runs.folder(run_id) / "log.txt"

    def __enter__(self) -> "EmbeddedKFP":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _serve(self) -> None:
        services = Services(self._store, self.registry, self.runs, self.recurring, self._hidden, self.access)
        app = create_app(services)
        if self._token is not None:
            _require(app, self._token)
        if self._instrument is not None:
            self._instrument(app, self.runs.create)
        self._server = make_server(
            "127.0.0.1", self._port, app, threaded=True, request_handler=_Handler, ssl_context=self._tls
        )
        self.url = f"http{'s' if self._tls else ''}://127.0.0.1:{self._server.server_port}"
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._server.serve_forever, args=(0.05,), name="kfp-http", daemon=True)
        ]
        if self._tick:
            beat = (self._stopped, self._tick)
            self._threads.append(
                threading.Thread(target=self.recurring.tick_until, args=beat, name="kfp-tick", daemon=True)
            )
        for thread in self._threads:
            thread.start()

    def _hidden(self) -> list[str]:
        return self.runs.hidden(timedelta(seconds=self._lag)) if self._lag else []


def _require(app: Flask, token: str) -> None:
    @app.before_request
    def authenticated() -> None:
        if request.headers.get("Authorization") != f"Bearer {token}":
            raise ApiError(401, 16, "the request does not bear a valid token")


class _Handler(WSGIRequestHandler):
    """Keeps connections open, as the real server does, and logs requests at debug level."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        logging.getLogger("local.kfp.http").debug("%s %s", self.requestline, code)
