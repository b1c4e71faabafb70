"""Times in the API's format."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]

NEVER = "1970-01-01T00:00:00Z"  # what the real server sends for an unset time


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def write(moment: datetime) -> str:
    """Return RFC 3339 in UTC and whole seconds, as KFP stores times (`CreatedAtInSec`), so that it sorts as text."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read(text: str) -> datetime:
    """Return the time in an RFC 3339 text. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
