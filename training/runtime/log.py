"""Logs JSON lines to stdout, one record per line, so that a log store can search a pod's log by run."""

import json
import logging
from collections.abc import Mapping
from typing import Any, TextIO

PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Formats a log record as one JSON object, with the fields of `extra` and the fields of every line."""

    def __init__(self, always: Mapping[str, Any]) -> None:
        super().__init__()
        self._always = dict(always)

    def format(self, record: logging.LogRecord) -> str:
        """Returns one line. A traceback is a string inside it."""
        line: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **self._always,
            **{name: value for name, value in vars(record).items() if name not in PLAIN},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_json(stream: TextIO, always: Mapping[str, Any]) -> None:
    """Sends records from INFO on to `stream` as JSON lines, and removes all other handlers."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter(always))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
