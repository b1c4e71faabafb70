"""Cron as KFP parses it: robfig/cron v1.2.0 `Parse`, six fields with seconds first, or a descriptor such as `@daily`.

The last field (day of week) is optional, so five fields are valid too, and the first is still *seconds*: `0 2 * * *`
is every hour at :02. Read in robfig/cron v1.2.0, parser.go and spec.go.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

YEARS = 5  # spec.go: "If no time is found within five years, return zero."
MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
    )
}
DAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
# Seconds, minutes, hours, days of the month, months, days of the week: lowest, highest, names. Sunday is 0, never 7.
BOUNDS: tuple[tuple[int, int, dict[str, int]], ...] = (
    (0, 59, {}),
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (1, 12, MONTHS),
    (0, 6, DAYS),
)
DESCRIPTORS = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}
EVERY = "@every "
UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
DURATION = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")


class Schedule(Protocol):
    """The times at which something is due."""

    def next(self, after: datetime) -> datetime | None:
        """Return the first time later than `after`; None if there is none within five years."""


@dataclass(frozen=True)
class Every:
    """`@every 1h30m`: a fixed delay after the last time, in whole seconds, at least one."""

    delay: timedelta

    def next(self, after: datetime) -> datetime | None:
        """Return `after` plus the delay, in whole seconds."""
        return after.replace(microsecond=0) + self.delay


@dataclass(frozen=True)
class Fields:
    """The values that each field allows; a field that held `*` or `?` is in `starred`."""

    allowed: tuple[frozenset[int], ...]
    starred: frozenset[int]

    def next(self, after: datetime) -> datetime | None:
        """Return the next time, at least one second later than `after`."""
        slot = after.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1)
        last = slot.year + YEARS
        seconds, minutes, hours, _, months, _ = self.allowed
        while slot.year <= last:
            midnight = slot.replace(hour=0, minute=0, second=0)
            if slot.month not in months:
                slot = (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)
            elif not self._day(slot):
                slot = midnight + timedelta(days=1)
            elif slot.hour not in hours:
                slot = slot.replace(minute=0, second=0) + timedelta(hours=1)
            elif slot.minute not in minutes:
                slot = slot.replace(second=0) + timedelta(minutes=1)
            elif slot.second not in seconds:
                slot += timedelta(seconds=1)
            else:
                return slot
        return None

    def _day(self, slot: datetime) -> bool:
        """spec.go, dayMatches: both must hold if one of them is starred; else either is enough."""
        of_month = slot.day in self.allowed[3]
        of_week = slot.isoweekday() % 7 in self.allowed[5]
        return (of_month and of_week) if self.starred & {3, 5} else (of_month or of_week)


def parse(expression: str) -> Schedule:
    """Parse a cron expression.

    Raises:
        ValueError: robfig/cron refuses it; the message is upstream's.
    """
    if not expression:
        raise ValueError("Empty spec string")
    if expression.startswith("@"):
        if expression.startswith(EVERY):
            return Every(_duration(expression))
        if expression not in DESCRIPTORS:
            raise ValueError(f"Unrecognized descriptor: {expression}")
        expression = DESCRIPTORS[expression]
    fields = expression.split()
    if not 5 <= len(fields) <= 6:
        raise ValueError(f"Expected 5 to 6 fields, found {len(fields)}: {expression}")
    fields = [*fields, "*"][:6]
    parsed = [_field(text, *bounds) for text, bounds in zip(fields, BOUNDS, strict=True)]
    starred = frozenset(place for place, (_, star) in enumerate(parsed) if star)
    return Fields(tuple(values for values, _ in parsed), starred)


def _field(text: str, low: int, high: int, names: dict[str, int]) -> tuple[frozenset[int], bool]:
    parts = [_range(part, low, high, names) for part in text.split(",") if part]
    return frozenset().union(*(values for values, _ in parts)), any(star for _, star in parts)


def _range(text: str, low: int, high: int, names: dict[str, int]) -> tuple[frozenset[int], bool]:
    """Parse `5`, `5-9`, `5-9/2`, `5/2` (to the highest), `*`, `?` or `*/2`; a field with a step stays starred."""
    span, *steps = text.split("/")
    ends = span.split("-")
    star = ends[0] in ("*", "?")
    if star:
        start, end = low, high
    else:
        if len(ends) > 2:
            raise ValueError(f"Too many hyphens: {text}")
        start, end = _number(ends[0], names), _number(ends[-1], names)
    if len(steps) > 1:
        raise ValueError(f"Too many slashes: {text}")
    step = _number(steps[0], {}) if steps else 1
    if steps and len(ends) == 1:
        end = high
    if start < low:
        raise ValueError(f"Beginning of range ({start}) below minimum ({low}): {text}")
    if end > high:
        raise ValueError(f"End of range ({end}) above maximum ({high}): {text}")
    if start > end:
        raise ValueError(f"Beginning of range ({start}) beyond end of range ({end}): {text}")
    if step == 0:
        raise ValueError(f"Step of range should be a positive number: {text}")
    return frozenset(range(start, end + 1, step)), star


def _number(text: str, names: dict[str, int]) -> int:
    if (named := names.get(text.lower())) is not None:
        return named
    if not re.fullmatch(r"\+?[0-9]+", text):
        raise ValueError(f"Failed to parse int from {text}")
    return int(text)


def _duration(descriptor: str) -> timedelta:
    text = descriptor.removeprefix(EVERY)
    parts = DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"Failed to parse duration {descriptor}")
    seconds = sum(float(number) * UNITS[unit] for number, unit in parts)
    try:
        return timedelta(seconds=max(int(seconds), 1))
    except OverflowError as error:
        raise ValueError(f"Failed to parse duration {descriptor}: {error}") from error
