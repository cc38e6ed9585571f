"""Which closed hours a question about the fleet is answered for."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from hseie.analytics.rolled import Hours, Rolled, ceiling_of, hours_between, latest_hours

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOON = datetime(2026, 2, 9, 12, tzinfo=UTC)
MIDNIGHT = NOON.replace(hour=0)
KNOWN = Rolled(NOON, 1)
LATER = NOON + timedelta(minutes=30)


def test_the_latest_hours_end_with_the_rollups() -> None:
    assert latest_hours(DAY, KNOWN, LATER) == Hours(NOON - DAY, NOON)
    assert latest_hours(timedelta(minutes=61), KNOWN, LATER) == Hours(NOON - 2 * HOUR, NOON)
    assert latest_hours(HOUR, KNOWN, LATER + 10 * DAY) == Hours(NOON - HOUR, NOON)
    assert latest_hours(HOUR, KNOWN, LATER - 3 * HOUR) == Hours(NOON - 4 * HOUR, NOON - 3 * HOUR)  # the clock was set
    assert latest_hours(HOUR, Rolled(None, 0), LATER) is None


def test_a_range_is_widened_to_hours_and_ends_with_what_is_closed() -> None:
    minute = timedelta(minutes=1)
    assert hours_between(NOON - HOUR + minute, NOON - minute, KNOWN) == Hours(NOON - HOUR, NOON)
    assert hours_between(NOON - 3 * HOUR, NOON - 2 * HOUR, KNOWN) == Hours(NOON - 3 * HOUR, NOON - 2 * HOUR)
    assert hours_between(NOON - HOUR, LATER, KNOWN) == Hours(NOON - HOUR, NOON)
    assert hours_between(NOON, LATER, KNOWN) is None
    assert hours_between(NOON - DAY, NOON, Rolled(None, 0)) is None


def test_where_hours_are_not_kept_any_more_days_are_whole() -> None:
    known = replace(KNOWN, hours_from=MIDNIGHT - 2 * DAY, days_from=MIDNIGHT - 9 * DAY)
    assert hours_between(MIDNIGHT - 3 * DAY + 5 * HOUR, NOON, known) == Hours(MIDNIGHT - 3 * DAY, NOON)
    assert hours_between(MIDNIGHT - 2 * DAY + 5 * HOUR, NOON, known) == Hours(MIDNIGHT - 2 * DAY + 5 * HOUR, NOON)
    early = MIDNIGHT - 5 * DAY + HOUR, MIDNIGHT - 5 * DAY + 2 * HOUR
    assert hours_between(*early, known) == Hours(MIDNIGHT - 5 * DAY, MIDNIGHT - 4 * DAY)
    assert hours_between(MIDNIGHT - 20 * DAY, NOON, known) == Hours(MIDNIGHT - 9 * DAY, NOON)
    assert hours_between(MIDNIGHT - 20 * DAY, MIDNIGHT - 10 * DAY, known) is None


@pytest.mark.parametrize(
    ("start", "end", "parts"),
    [
        (-30, 12, (-30, -24, 0, 12)),
        (-24, 0, (-24, -24, 0, 0)),
        (1, 12, (1, 12, 12, 12)),
        (-1, 1, (-1, 1, 1, 1)),
        (-25, 0, (-25, -24, 0, 0)),
    ],
)
def test_whole_days_inside(start: int, end: int, parts: tuple[int, ...]) -> None:
    hours = Hours(MIDNIGHT + start * HOUR, MIDNIGHT + end * HOUR)
    assert hours.parts == tuple(MIDNIGHT + part * HOUR for part in parts)


def test_a_length_is_rounded_up_to_hours() -> None:
    assert [ceiling_of(timedelta(minutes=minutes)) / HOUR for minutes in (1, 60, 61, 1440)] == [1, 1, 2, 24]
