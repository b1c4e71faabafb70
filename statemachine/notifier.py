"""Sends notifications and emits metrics from the DynamoDB stream. Only what was committed is announced.

Delivery is at least once. A marker item per history entry suppresses duplicates. Messages that Slack rejects stay
pending in the same partition and are sent before the next one, so neither the stream nor the metrics wait for Slack.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

from statemachine.contracts.errors import Conflict, Malformed, Unreachable
from statemachine.core import codec
from statemachine.core.policy import Policy
from statemachine.core.run import Run, Transition
from statemachine.core.states import State
from statemachine.ports import Clause, Key, Put
from statemachine.reporting.notifications import MetricSample, message, metric_samples
from statemachine.reporting.prices import LIST_PRICES, Prices
from statemachine.store import Store

LOG = logging.getLogger("fraudloop.announcing")
OUTBOX = "SLACK"
KEEP = 3 * 86_400  # longer than the stream keeps a record, so a repeated record always meets its marker
PENDING, SENT = "owed", "told"  # as the table stores them
AT_ONCE = 10  # pending messages that one pass sends


@dataclass(frozen=True)
class HistoryRecord:
    """One history entry from the stream."""

    model: str
    entry: Transition


def history_record(record: Mapping[str, Any]) -> HistoryRecord | None:
    """The line of history that a stream record inserts; `None` for any other record. Raises `Malformed`."""
    image = record.get("dynamodb", {}).get("NewImage")
    if record.get("eventName") != "INSERT" or not image or image.get("type") != {"S": "entry"}:
        return None
    try:
        model, body, format_number = image["model"]["S"], image["body"]["S"], int(image["format"]["N"])
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed(f"a history entry that cannot be read: {type(error).__name__}: {error}") from error
    return HistoryRecord(model, codec.loads(Transition, body, format_number))


class Chat(Protocol):
    """The chat that receives messages."""

    @property
    def wanted(self) -> bool:
        """Whether a chat is configured."""

    def post(self, text: str) -> None:
        """Send the message. Raises `Unreachable`."""


@dataclass(frozen=True)
class Notifier:
    """Posts messages and computes the metrics of history entries."""

    store: Store
    chat: Chat
    clock: Callable[[], float]
    new_id: Callable[[], str]
    kfp_ui: str = ""
    prices: Prices = LIST_PRICES
    console: str = ""
    policies: Mapping[str, Policy] = field(default_factory=dict)

    def metric_samples(self, step: HistoryRecord) -> tuple[MetricSample, ...]:
        """The metrics of one history entry."""
        run = self._run(step)
        history = self.store.history(run.id) if State(step.entry.dest).terminal else ()
        return tuple(metric_samples(step.entry, run, history, self.prices))

    def announce(self, steps: Iterable[HistoryRecord]) -> int:
        """Post pending and new messages. Returns how many are still pending.

        After the first failure of a pass, further messages are only marked as pending: a Slack that hangs for seconds
        per message would otherwise use up the function's time.
        """
        if not self.chat.wanted:
            return 0
        answering = self._send_pending()
        for step in steps:
            key, text = self._message(step)
            if text and self.store.table.get(key) is None:
                answering = answering and self._posted(text)
                self._mark(key, text, SENT if answering else PENDING, Clause("the message is new"))
        return sum(1 for _ in self._pending())

    def _run(self, step: HistoryRecord) -> Run:
        """The stored run, or a minimal `Run` built from the history entry if the item was deleted."""
        entry = step.entry
        return self.store.load(entry.run_id) or Run(entry.run_id, step.model, 0, State(entry.dest), created_at=entry.at)

    def _message(self, step: HistoryRecord) -> tuple[Key, str]:
        run = self._run(step)
        key = Key(OUTBOX, f"{run.id}#{step.entry.version:08d}")
        return key, message(
            step.entry,
            run,
            self.store.model(run.model),
            self.kfp_ui,
            self.console,
            self.policies.get(run.model),
        )

    def _send_pending(self) -> bool:
        """True if Slack accepted all pending messages, or there were none."""
        for item in islice(self._pending(), AT_ONCE):
            key, text = Key(OUTBOX, str(item["name"])), str(item["text"])
            if not self._posted(text):
                return False
            self._mark(key, text, SENT, Clause("the message is still pending", "state", PENDING))
        return True

    def _pending(self) -> Iterator[Mapping[str, Any]]:
        return (item for item in self.store.table.query(OUTBOX) if item["state"] == PENDING)

    def _posted(self, text: str) -> bool:
        try:
            self.chat.post(text)
        except Unreachable as error:
            LOG.warning("Slack rejected a message: %s", error)
            return False
        return True

    def _mark(self, key: Key, text: str, state: str, clause: Clause) -> None:
        expires = int(self.clock() + KEEP)
        item = {"type": "message", "name": key.sk, "state": state, "text": text, "expires_at": expires}
        try:
            self.store.table.write(Put(key, item | {"writer": self.new_id()}, clause))
        except Conflict:  # two readers of the stream at once: the message was sent twice and marked once
            LOG.info("%s was marked by another reader", key.sk)
