"""Scores payments by `fraud_live`: one typed call, retried under one request id until its deadline.

A request id makes a retry the same answer, counted once, so a call may be repeated after any failure, also on another
pod. It speaks KServe v2 over HTTP and needs nothing but the standard library; for gRPC see `clients/scoring_grpc.py`.
"""

import http.client
import json
import random
import ssl
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import urlsplit

from statemachine.contracts.errors import FraudloopError, Misconfigured, Unreachable

MODEL = "fraud_live"
MOST = 64  # payments in one request
OUTPUTS = ("PROBABILITY", "DECISION", "HISTORY_USED", "VERSION", "DEGRADED")
REASONS = "REASONS"
LONGEST_ANSWER = 4 * 1024**2  # bytes
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5  # seconds between two attempts
UNLOADED = "Request for unknown model"  # what Triton says while a version is replaced

Transaction = str | Mapping[str, Any]
Answer = Mapping[str, Sequence[Any]]


class InvalidTransaction(FraudloopError):
    """The server refuses a transaction; the message names the column, what was found and what was expected."""


class NotScored(Unreachable):
    """No answer within the deadline. The payment may have been counted: repeat the call with the same request id."""


class Unanswering(Exception):
    """One attempt failed in a way that another one may not; the message says how."""


@dataclass(frozen=True)
class Score:
    """One answer. `history_used`: earlier transactions of each entity that were known; `degraded`: "", or why less was
    known than could be; `reasons`: what raised or lowered the probability most, if asked for.
    """

    request_id: str
    probability: float
    decision: bool
    version: str
    history_used: tuple[int, ...] = ()
    degraded: str = ""
    reasons: tuple[str, ...] = ()


class Transport(Protocol):
    """One connection to one server."""

    def infer(self, inputs: Mapping[str, Sequence[str]], outputs: Sequence[str], seconds: float) -> Answer:
        """Flat values of each output. Raises `InvalidTransaction`, `Unanswering`."""
        ...

    def parameters(self, seconds: float) -> Mapping[str, str]:
        """The parameters of the model's configuration. Raises `Unanswering`."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...


class ScoringClient:
    """Asks one of several servers, and the next one if it fails. Use one client a thread.

    A call takes at most `deadline` seconds, and each attempt of it at most `attempt`.
    """

    def __init__(self, *transports: Transport, deadline: float = 2.0, attempt: float = 0.5) -> None:
        if not transports:
            raise Misconfigured("a client needs the URL of a server, such as http://127.0.0.1:8000")
        self._transports, self._deadline, self._attempt = list(transports), deadline, attempt

    @classmethod
    def of(cls, *urls: str, model: str = MODEL, deadline: float = 2.0, attempt: float = 0.5) -> "ScoringClient":
        """For servers at http://, https://, grpc:// or grpcs:// URLs."""
        return cls(*(_transport(url, model) for url in urls), deadline=deadline, attempt=attempt)

    def score(self, transaction: Transaction, request_id: str = "", reasons: bool = False) -> Score:
        """The score of one transaction: a line of CSV in the declared columns, or their values by name.

        Raises:
            InvalidTransaction, NotScored.
        """
        return self.score_many([transaction], [request_id] if request_id else None, reasons)[0]

    def score_many(
        self, transactions: Sequence[Transaction], request_ids: Sequence[str] | None = None, reasons: bool = False
    ) -> list[Score]:
        """The scores of 1 to 64 transactions, each one known to those behind it. None is counted if one is invalid.

        Raises:
            InvalidTransaction, NotScored.
        """
        if not 1 <= len(transactions) <= MOST:
            raise Misconfigured(f"a request holds 1 to {MOST} transactions, not {len(transactions)}")
        ids = list(request_ids) if request_ids is not None else [str(uuid.uuid4()) for _ in transactions]
        texts = [one if isinstance(one, str) else json.dumps(dict(one), ensure_ascii=False) for one in transactions]
        outputs = (*OUTPUTS, REASONS) if reasons else OUTPUTS
        inputs = {"TRANSACTION": texts, "REQUEST_ID": ids}
        answer = self._until_answered(lambda one, seconds: one.infer(inputs, outputs, seconds))
        return _scores(answer, ids)

    def columns(self) -> tuple[str, ...]:
        """The declared columns in the order of a line; the label, which is last, is left out of a transaction."""
        found = self._until_answered(lambda one, seconds: one.parameters(seconds))
        return tuple(json.loads(found["columns"]))

    def close(self) -> None:
        """End all connections."""
        for one in self._transports:
            one.close()

    def __enter__(self) -> "ScoringClient":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _until_answered(self, ask: Any) -> Any:
        """The first answer. Pauses grow, with jitter, and the servers take turns."""
        until, pause, failures = time.monotonic() + self._deadline, FIRST_PAUSE, 0
        while True:
            left = until - time.monotonic()
            try:
                return ask(self._transports[0], max(0.001, min(self._attempt, left)))
            except Unanswering as failure:
                failures += 1
                self._transports.append(self._transports.pop(0))
                wait = pause * (0.5 + random.random())  # noqa: S311 — jitter
                if time.monotonic() + wait >= until:
                    told = f"no answer within {self._deadline:g} s in {failures} attempts; the last: {failure}"
                    raise NotScored(told) from failure
                time.sleep(wait)
                pause = min(2 * pause, LONGEST_PAUSE)


class HttpTransport:
    """KServe v2 over HTTP with JSON, on one connection that is kept."""

    def __init__(self, url: str, model: str = MODEL) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Misconfigured(
                f"{url!r} is no URL of a server, such as http://127.0.0.1:8000 or grpc://127.0.0.1:8001"
            )
        self._where, self._host, self._port = url, parts.hostname, parts.port
        self._path = f"{parts.path.rstrip('/')}/v2/models/{model}"
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._connection: http.client.HTTPConnection | None = None

    def infer(self, inputs: Mapping[str, Sequence[str]], outputs: Sequence[str], seconds: float) -> Answer:
        """See `Transport`."""
        tensors = [
            {"name": name, "datatype": "BYTES", "shape": [len(data), 1], "data": list(data)}
            for name, data in inputs.items()
        ]
        body = json.dumps({"inputs": tensors, "outputs": [{"name": name} for name in outputs]}, ensure_ascii=False)
        answer = self._ask("POST", "/infer", body.encode(), seconds)
        try:
            return {str(one["name"]): one["data"] for one in answer["outputs"]}
        except (KeyError, TypeError) as error:
            raise Unanswering(f"{self._where}: its answer has no outputs") from error

    def parameters(self, seconds: float) -> Mapping[str, str]:
        """See `Transport`."""
        found = self._ask("GET", "/config", None, seconds)["parameters"]
        return {name: one["string_value"] for name, one in found.items()}

    def close(self) -> None:
        """See `Transport`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _ask(self, method: str, path: str, body: bytes | None, seconds: float) -> Any:
        try:
            response = self._sent(method, path, body, seconds)
            status, read = response.status, response.read(LONGEST_ANSWER + 1)
            if len(read) > LONGEST_ANSWER:
                raise ValueError(f"its answer is longer than {LONGEST_ANSWER} bytes")
            told = json.loads(read)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise Unanswering(f"{self._where}: {type(error).__name__}: {error}") from error
        if status == http.HTTPStatus.OK:
            return told
        message = str(told.get("error", status)) if isinstance(told, dict) else str(status)
        if status == http.HTTPStatus.BAD_REQUEST and not message.startswith(UNLOADED):
            raise InvalidTransaction(message)
        raise Unanswering(f"{self._where}: {status}: {message}")

    def _sent(self, method: str, path: str, body: bytes | None, seconds: float) -> http.client.HTTPResponse:
        if self._connection is None:
            made = (
                http.client.HTTPConnection(self._host, self._port, timeout=seconds)
                if self._tls is None
                else http.client.HTTPSConnection(self._host, self._port, timeout=seconds, context=self._tls)
            )
            self._connection = made
        connection = self._connection
        connection.timeout = seconds
        if connection.sock is not None:
            connection.sock.settimeout(seconds)
        connection.request(method, self._path + path, body, {"Content-Type": "application/json"})
        return connection.getresponse()


def _transport(url: str, model: str) -> Transport:
    """The transport of a URL's scheme; only gRPC's needs packages, so it is imported when it is asked for."""
    if not url.startswith(("grpc://", "grpcs://")):
        return HttpTransport(url, model)
    try:
        from clients.scoring_grpc import GrpcTransport
    except ModuleNotFoundError as error:
        raise Misconfigured(f"{url} needs the package {error.name}: pip install grpcio protobuf") from error
    return GrpcTransport(url, model)


def _scores(answer: Answer, ids: Sequence[str]) -> list[Score]:
    """One score a transaction. Raises NotScored if the answer is of another form."""
    try:
        rows = {name: _rows(values, len(ids)) for name, values in answer.items()}
        return [
            Score(
                request_id=ids[at],
                probability=float(rows["PROBABILITY"][at][0]),
                decision=bool(rows["DECISION"][at][0]),
                version=str(rows["VERSION"][at][0]),
                history_used=tuple(int(one) for one in rows["HISTORY_USED"][at]),
                degraded=str(rows["DEGRADED"][at][0]),
                reasons=tuple(one for one in rows.get(REASONS, [()] * len(ids))[at] if one),
            )
            for at in range(len(ids))
        ]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise NotScored(f"the answer is not one of {MODEL}: {type(error).__name__}: {error}") from error


def _rows(values: Sequence[Any], rows: int) -> list[Sequence[Any]]:
    width = len(values) // rows
    return [values[at * width : (at + 1) * width] for at in range(rows)]
