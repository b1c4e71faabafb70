"""Time as the API writes it."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]

NEVER = "1970-01-01T00:00:00Z"  # what the real server sends for a time that has not come


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


def write(moment: datetime) -> str:
    """RFC 3339, in UTC and in whole seconds, as KFP keeps them (`CreatedAtInSec`), so that it sorts as text."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read(text: str) -> datetime:
    """The moment in an RFC 3339 text. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
