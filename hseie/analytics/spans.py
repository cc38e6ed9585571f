"""How a window is divided: what of it rollups of a vehicle answer, and what has to be read from its readings. Pure.

Whole UTC days and whole hours come from rollups where these say what the readings say, everything else from readings.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from hseie.analytics.rolled import DAY, HOUR, ceiling, floor

Span = tuple[datetime, datetime]


@dataclass(frozen=True)
class Division:
    """Half-open spans that make up a window, each list in order: whole days, whole hours, and anything else."""

    days: list[Span] = field(default_factory=list)
    hours: list[Span] = field(default_factory=list)
    raw: list[Span] = field(default_factory=list)

    @property
    def rolled(self) -> list[Span]:
        return self.days + self.hours


@dataclass(frozen=True)
class Trust:
    """Which rollups of a vehicle and its meters may be taken for their readings.

    `rolled_until`: there are rollups of the hours before (None: there are none to be taken). `hours_from`, `days_from`:
    older ones are not kept whole (None: all are). `marks`: hours with readings that are not in rollups yet; such a one
    spoils the hours that reach within `margin` of it too, because it may be a neighbour of what lies there.
    `register_marks`: the same of a device that sends a running total, which spoils all after it: the next reading is
    compared with that which came late, however far away it is. `given_up`: days of which there is nothing but rollups,
    so that theirs are taken even where they are not `made_as_now`: with other settings, or with another meter.
    """

    rolled_until: datetime | None
    hours_from: datetime | None = None
    days_from: datetime | None = None
    marks: Collection[datetime] = ()
    register_marks: Collection[datetime] = ()
    given_up: Collection[date] = frozenset()
    margin: timedelta = timedelta(minutes=1)
    made_as_now: bool = True

    def judges(self) -> tuple[Callable[[datetime], bool], Callable[[datetime], bool]]:
        """Return two functions that tell whether the day, and the hour, that starts at a time may be taken."""
        reach = -(-self.margin // HOUR)
        spoiled = {mark + number * HOUR for mark in self.marks for number in range(-reach, reach + 1)}
        spoiled_days = {hour.date() for hour in spoiled}
        all_from = min(self.register_marks) - reach * HOUR if self.register_marks else None
        days_until = floor(self.rolled_until, DAY) if self.rolled_until is not None else None

        def day(start: datetime) -> bool:
            if days_until is None or start >= days_until or (self.days_from is not None and start < self.days_from):
                return False
            if start.date() in self.given_up:
                return True
            if not self.made_as_now or start.date() in spoiled_days:
                return False
            return all_from is None or start + DAY <= all_from

        def hour(start: datetime) -> bool:
            if self.rolled_until is None or start + HOUR > self.rolled_until:
                return False
            if self.hours_from is not None and start < self.hours_from:
                return False
            if start.date() in self.given_up:
                return True
            if not self.made_as_now or start in spoiled:
                return False
            return all_from is None or start < all_from

        return day, hour


def widened(start: datetime, end: datetime, trust: Trust) -> Span:
    """Return the window with those bounds moved outwards that lie inside of a day without readings: to whole hours, or
    to whole days where hours are not kept any more."""
    width = _width(start, trust)
    if width is not None:
        start = floor(start, width)
    width = _width(end - timedelta(microseconds=1), trust)
    if width is not None:
        end = ceiling(end, width)
    return start, end


def _width(moment: datetime, trust: Trust) -> timedelta | None:
    if moment.date() not in trust.given_up:
        return None
    return DAY if trust.hours_from is not None and floor(moment, HOUR) < trust.hours_from else HOUR


def divide(start: datetime, end: datetime, trust: Trust) -> Division:
    """Divide [start, end), in UTC, into as few spans as possible, days before hours before readings."""
    day_may, hour_may = trust.judges()
    found = Division()
    place = start
    while place < end:
        day = floor(place, DAY)
        day_end = min(day + DAY, end)
        if place == day and day + DAY <= end and day_may(day):
            _add(found.days, place, day_end)
            place = day_end
        while place < day_end:
            hour = floor(place, HOUR)
            hour_end = min(hour + HOUR, day_end)
            whole = place == hour and hour + HOUR <= day_end and hour_may(hour)
            _add(found.hours if whole else found.raw, place, hour_end)
            place = hour_end
    return found


def _add(spans: list[Span], start: datetime, end: datetime) -> None:
    if spans and spans[-1][1] == start:
        spans[-1] = (spans[-1][0], end)
    else:
        spans.append((start, end))
