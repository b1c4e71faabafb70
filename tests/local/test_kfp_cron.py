"""Cron as robfig/cron v1.2.0 reads it, the version in KFP's go.mod: parser.go, spec.go, constantdelay.go."""

from datetime import UTC, datetime, timedelta

import pytest

from local.kfp.cron import parse

NOON = datetime(2026, 11, 24, 12, 0, 30, tzinfo=UTC)  # a Tuesday


def at(*parts):
    return datetime(*parts).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "first"),
    [
        ("0 0 2 * * *", at(2026, 11, 25, 2)),
        ("0 2 * * *", at(2026, 11, 24, 12, 2)),  # Second | Minute | Hour | Dom | Month | DowOptional
        ("0 0 2 * *", at(2026, 11, 25, 2)),
        ("30 * * * * *", at(2026, 11, 24, 12, 1, 30)),
        ("0 0 9 ? * 1-5", at(2026, 11, 25, 9)),
        ("0 0 9 * * SUN", at(2026, 11, 29, 9)),
        ("0 0 9 * Feb-mar *", at(2027, 2, 1, 9)),
        ("0 20/15 * * * *", at(2026, 11, 24, 12, 20)),  # "N/step" means "N-max/step"
        ("0 0 0 29 2 *", at(2028, 2, 29)),
        ("0 0 0 30 2 *", None),  # none within five years
        ("0 0 0 31 * *", at(2026, 12, 31)),
        ("@daily", at(2026, 11, 25)),
        ("@midnight", at(2026, 11, 25)),
        ("@hourly", at(2026, 11, 24, 13)),
        ("@weekly", at(2026, 11, 29)),
        ("@monthly", at(2026, 12, 1)),
        ("@yearly", at(2027, 1, 1)),
        ("@annually", at(2027, 1, 1)),
        ("@every 1h30m", at(2026, 11, 24, 13, 30, 30)),
        ("@every 1.5h", at(2026, 11, 24, 13, 30, 30)),
        ("@every 10ms", at(2026, 11, 24, 12, 0, 31)),
    ],
)
def test_the_first_slot_after_noon(expression, first):
    """Seconds come first, also where there are only five fields."""
    assert parse(expression).next(NOON) == first


@pytest.mark.parametrize(
    ("expression", "days"),
    [
        ("0 0 0 13 * 5", [27, 4, 11, 13]),  # neither is starred: either is enough
        ("0 0 0 */10 * 2", [1, 11, 1]),  # in v1 a step leaves `*` a star, so both must hold
        ("0 0 0 1,15 * *", [1, 15, 1, 15]),
    ],
)
def test_day_of_month_and_day_of_week(expression, days):
    """spec.go, dayMatches: `if s.Dom&starBit > 0 || s.Dow&starBit > 0 { return domMatch && dowMatch }`."""
    schedule, slot, found = parse(expression), NOON, []
    for _ in days:
        following = schedule.next(slot)
        assert following is not None
        slot = following
        found.append(slot.day)
    assert found == days


def test_slots_follow_each_other_without_a_repeat():
    """Each is later than the last, over a month's and a year's end."""
    schedule, slot = parse("*/20 59 23 * * *"), at(2026, 12, 31, 23, 59, 10)
    found = []
    for _ in range(4):
        slot = schedule.next(slot)
        found.append(slot)
    assert found == [
        at(2026, 12, 31, 23, 59, 20),
        at(2026, 12, 31, 23, 59, 40),
        at(2027, 1, 1, 23, 59, 0),
        at(2027, 1, 1, 23, 59, 20),
    ]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "Empty spec string"),
        ("0 2 * *", "Expected 5 to 6 fields, found 4"),
        ("0 0 2 * * * *", "Expected 5 to 6 fields, found 7"),
        ("now and then it is so", "Failed to parse int from now"),
        ("60 * * * * *", r"End of range \(60\) above maximum \(59\)"),
        ("0 0 0 0 * *", r"Beginning of range \(0\) below minimum \(1\)"),
        ("0 0 0 * * 7", r"End of range \(7\) above maximum \(6\)"),
        ("0 9-5 * * * *", "beyond end of range"),
        ("0 */0 * * * *", "Step of range"),
        ("0 1-2-3 * * * *", "Too many hyphens"),
        ("0 1/2/3 * * * *", "Too many slashes"),
        ("0 0 0 L * *", "Failed to parse int from L"),
        ("0 -1 * * * *", "Failed to parse int"),
        ("@often", "Unrecognized descriptor"),
        ("@every now", "Failed to parse duration"),
        ("@every 1h 30m", "Failed to parse duration"),
    ],
)
def test_what_robfig_refuses_is_refused(expression, message):
    """With its own words."""
    with pytest.raises(ValueError, match=message):
        parse(expression)


def test_every_counts_from_the_last_time():
    """constantdelay.go: `t.Add(schedule.Delay - …)`, on the second."""
    assert parse("@every 90s").next(NOON + timedelta(milliseconds=400)) == NOON + timedelta(seconds=90)
