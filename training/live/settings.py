"""Where the online store is and how long a payment may wait for it, from the environment of the process."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields

MIN_KEY = 16  # characters
_NAMES = {"url": "FRAUDLOOP_LIVE_URL", "password": "FRAUDLOOP_LIVE_PASSWORD", "entity_key": "FRAUDLOOP_ENTITY_KEY"}


@dataclass(frozen=True)
class LiveSettings:
    """`url` is `valkey://host:port/0`, or `valkeys://…` with TLS; "" is no store. `entity_key` is secret.

    A payment waits `deadline_ms` for the store in all. A request id is remembered `answer_seconds`. State that is not
    written for `retention_days` is deleted. The score log's stream keeps about `log_entries`; of a payment in
    1 / `sample_share` the whole request is logged. `log_lines`: each payment's own line is logged, its entities in
    clear, so that `fraudloop land --scores` makes the model's data of it.
    """

    url: str = ""
    password: str = ""
    entity_key: str = ""
    deadline_ms: float = 20.0
    answer_seconds: float = 600.0
    retention_days: float = 400.0
    log_entries: float = 1_000_000
    sample_share: float = 0.01
    log_lines: bool = False

    def __post_init__(self) -> None:
        for name in ("deadline_ms", "answer_seconds", "retention_days", "log_entries"):
            if not 1 <= getattr(self, name) <= 1e12:
                raise ValueError(f"{variable(name)} is {getattr(self, name)}; it must be at least 1")
        if not 0 <= self.sample_share <= 1:
            raise ValueError(f"{variable('sample_share')} is {self.sample_share}; it must be in 0 … 1")

    @property
    def missing(self) -> str:
        """Why there is no store: "no store", "no key", or "" if there is one."""
        if not self.url:
            return "no store"
        return "" if len(self.entity_key) >= MIN_KEY else "no key"


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return _NAMES.get(name, f"FRAUDLOOP_LIVE_{name.upper()}")


def read(environment: Mapping[str, str] | None = None) -> LiveSettings:
    """The settings in `environment` (the process's own).

    Raises:
        ValueError: one is no number, out of its range, or neither 0 nor 1; the message names it.
    """
    found = os.environ if environment is None else environment
    values: dict[str, str | float | bool] = {}
    for one in fields(LiveSettings):
        text = found.get(variable(one.name), "")
        if text and one.type is float:
            try:
                values[one.name] = float(text)
            except ValueError:
                raise ValueError(f"{variable(one.name)} is {text[:40]!r}; it must be a number") from None
        elif text and one.type is bool:
            if text not in ("0", "1"):
                raise ValueError(f"{variable(one.name)} is {text[:40]!r}; it must be 0 or 1")
            values[one.name] = text == "1"
        elif text:
            values[one.name] = text
    return LiveSettings(**values)  # type: ignore[arg-type]
