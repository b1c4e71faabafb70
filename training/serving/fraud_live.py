"""The Triton model `fraud_live`: one payment as it is → probability, decision and reasons; the store has its history.

A payment is never failed or delayed by the store: what cannot be read in time is left out, and DEGRADED says why.
"""

import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from training.live import settings as live_settings
from training.live.connection import StoreConnection, Unavailable
from training.live.definition import LiveDefinition
from training.live.keys import EntityHash, Names, as_number
from training.live.record import Damaged, EntityState, loads
from training.live.settings import LiveSettings
from training.live.store import OnlineStore, Payment
from training.model import head
from training.model.model import FraudModel, load
from training.scorelog.record import ScoreRecord, stream
from training.serving import Tensors
from training.serving.csv_codec import BadLine, BadRequest
from training.serving.line_reader import LineReader
from training.serving.live_answer import LiveAnswer
from training.serving.live_line import file_line, logged_request, pseudonymous, transaction_line
from training.serving.live_metrics import LiveMetrics
from training.serving.payment_block import PaymentFeaturiser
from training.serving.reasons import reasons
from training.serving.row_features import Columns

LOG = logging.getLogger("fraudloop.live")
FIRST_CONNECTION = 2.0  # seconds that loading waits for the store
RESCORED = 2  # how often a payment is scored again because another one came between; then it is appended as it is
LONGEST_ID = 256  # characters


@dataclass(frozen=True)
class _Scored:
    """A payment scored on what was read of the store."""

    answer: LiveAnswer
    entry: bytes
    request: str


class FraudLive:
    """Answers payments one after another, each with the state that the earlier ones left."""

    def __init__(self, model: FraudModel, name: str, version: str, settings: LiveSettings, metrics: LiveMetrics):
        self._model, self._name, self._version = model, name, version
        self._settings, self._metrics = settings, metrics
        head.use_threads(model.booster, 1)
        fitted = model.feature_schema
        self._reader = LineReader(fitted.data)
        self.definition = LiveDefinition(fitted.data, model.config.k)
        self._featuriser = PaymentFeaturiser(fitted, model.row, self.definition)
        self._hash = EntityHash(settings.entity_key)
        self._connection: StoreConnection | None = None
        self._store: OnlineStore | None = None
        if not settings.missing:
            self._connection = StoreConnection(settings)
            names = Names.of(name, self.definition.digest, settings.entity_key)
            self._store = OnlineStore(self._connection, names, self.definition, settings)
            self._connection.wait(FIRST_CONNECTION)

    @classmethod
    def load(cls, folder: Path, parameters: Mapping[str, str]) -> "FraudLive":
        """Load it from the model's files; `parameters` of its configuration are the model's name and version."""
        from training.serving.config_pbtxt import MODEL, VERSION

        name, version = parameters.get(MODEL, ""), parameters.get(VERSION, "")
        return cls(load(folder), name, version, live_settings.read(), LiveMetrics.of_triton(name))

    def close(self) -> None:
        """End the connection to the store."""
        if self._connection is not None:
            self._connection.close()

    def answer(self, requests: Sequence[Tensors], wanted: Sequence[frozenset[str]]) -> list[Tensors | BadRequest]:
        """Return one answer per request; a bad request fails alone."""
        return [self._request(*one) for one in zip(requests, wanted, strict=True)]

    def _request(self, tensors: Tensors, wanted: frozenset[str]) -> Tensors | BadRequest:
        lines = tensors["TRANSACTION"].ravel().tolist()
        explain = not wanted or "REASONS" in wanted
        try:
            ids = _optional(tensors, "REQUEST_ID", [b""] * len(lines))
            stored = _optional(tensors, "STORE", [True] * len(lines))
            payments = [self._parsed(at, *one) for at, one in enumerate(zip(lines, ids, strict=True))]
            answers = [self._payment(*one, use, explain) for one, use in zip(payments, stored, strict=True)]
        except BadRequest as error:
            self._metrics.refused()
            return error
        return LiveAnswer.tensors(answers)

    def _parsed(self, at: int, told: bytes, request_id: bytes) -> tuple[bytes, Columns, str]:
        """The line of one transaction, its clean columns and its request id. Raises BadRequest."""
        data = self.definition.data
        try:
            line = transaction_line(told, data)
            name = request_id.decode()
            if len(name) > LONGEST_ID:
                raise BadRequest(f"REQUEST_ID[{at}] has {len(name)} characters, expected at most {LONGEST_ID}")
            return line, self._reader.read([line], datetime.now(UTC).date()).columns, name
        except UnicodeDecodeError:
            raise BadRequest(f"REQUEST_ID[{at}] is {request_id[:40]!r}, expected UTF-8") from None
        except BadLine as error:
            raise BadRequest(f"TRANSACTION[{at}]: {error}") from error

    def _payment(self, line: bytes, clean: Columns, request_id: str, stored: bool, explain: bool) -> LiveAnswer:
        began = time.perf_counter()
        keys = {side: int(clean[f"{side}_key"][0]) for side in self.definition.data.relations}
        hashes = {side: self._hash.of(side, key) for side, key in keys.items()}
        name = request_id or str(uuid.uuid4())
        payment = Payment(name, int(clean["time"][0]), int(clean["cents"][0]), hashes)
        store = self._store if stored else None
        if store is None:
            why = self._settings.missing if stored else "not asked"
            alone = self._scored(line, clean, payment, self._nothing(), why, explain).answer
            if stored:
                self._metrics.answered(why, time.perf_counter() - began)
            return alone
        answer, waited, conflicts = self._counted(store, line, clean, payment, bool(request_id), explain, began)
        self._metrics.answered(answer.degraded, time.perf_counter() - began, waited, conflicts)
        return answer

    def _counted(
        self,
        store: OnlineStore,
        line: bytes,
        clean: Columns,
        payment: Payment,
        with_id: bool,
        explain: bool,
        began: float,
    ) -> tuple[LiveAnswer, float, int]:
        """The answer, the seconds waited for the store, and how often it was scored again."""
        budget, conflicts = _Budget(self._settings.deadline_ms / 1000), 0
        try:
            with budget as until:
                seen = store.read(payment, with_id, until)
        except Unavailable as why:
            scored = self._scored(line, clean, payment, self._nothing(), str(why), explain)
            return scored.answer, budget.spent, 0
        while seen.answer is None:
            scored = self._scored(line, clean, payment, seen.states, "" if seen.filled else "not filled", explain)
            log = stream(self._name), self._record(payment, line, scored, began).fields()
            kept = scored.answer.dumps() if with_id else b""
            force = conflicts >= RESCORED
            try:
                with budget as until:
                    again = store.append(payment, scored.entry, seen, until, answer=kept, log=log, force=force)
            except Unavailable as why:
                return replace(scored.answer, degraded=f"not counted: {why}"), budget.spent, conflicts
            if again is None:
                return scored.answer, budget.spent, conflicts
            seen, conflicts = again, conflicts + 1
        try:
            return LiveAnswer.loads(seen.answer), budget.spent, conflicts
        except Damaged:
            scored = self._scored(line, clean, payment, self._nothing(), "damaged", explain)
            return scored.answer, budget.spent, conflicts

    def _scored(
        self, line: bytes, clean: Columns, payment: Payment, states: Mapping[str, EntityState], why: str, explain: bool
    ) -> _Scored:
        """The payment scored on these states of its entities."""
        model = self._model
        block = self._featuriser.block(clean, payment.entities, states)
        inputs = model.head_inputs(block)
        probability = head.predict(model.booster, inputs)[0]
        told: list[str] = []
        if explain:
            told = reasons(model.inputs, inputs[0], head.contributions(model.booster, inputs)[0, :-1], model.sides)
        used = tuple(int(history.present.sum()) for history in block.histories.values())
        decision = bool(probability >= np.float32(model.threshold))
        answer = LiveAnswer(float(probability), decision, used, self._version, why, tuple(told))
        numbers = {side: np.array([as_number(one)]) for side, one in payment.entities.items()}
        entry = self.definition.entries(clean, numbers, model.state(block))
        entry["tag"] = payment.tag
        request = ""
        if int.from_bytes(payment.tag, "big") < self._settings.sample_share * 2**64:
            request = logged_request(line, block, states, payment, self._featuriser)
        return _Scored(answer, entry.tobytes(), request)

    def _record(self, payment: Payment, line: bytes, scored: _Scored, began: float) -> ScoreRecord:
        return ScoreRecord(
            request_id=payment.request_id,
            at=time.time(),
            time=payment.time,
            transaction=pseudonymous(line, payment.entities, self.definition.data),
            probability=scored.answer.probability,
            decision=scored.answer.decision,
            threshold=self._model.threshold,
            version=self._version,
            definition=self.definition.digest,
            degraded=scored.answer.degraded,
            latency_us=int((time.perf_counter() - began) * 1e6),
            request=scored.request,
            line=file_line(line, self.definition.data) if self._settings.log_lines else "",
        )

    def _nothing(self) -> dict[str, EntityState]:
        return {side: loads(None, self.definition) for side in self.definition.data.relations}


class _Budget:
    """What a payment may still wait for the store; `with` takes from it and gives the deadline."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._began, self.spent = seconds, 0.0, 0.0

    def __enter__(self) -> float:
        self._began = time.monotonic()
        return self._began + self._seconds - self.spent

    def __exit__(self, *_: object) -> None:
        self.spent += time.monotonic() - self._began


def _optional(tensors: Tensors, name: str, default: list[Any]) -> list[Any]:
    found = tensors.get(name)
    values: list[Any] = default if found is None else found.ravel().tolist()
    if len(values) != len(default):
        raise BadRequest(f"{name} has {len(values)} values, expected {len(default)}")
    return values
