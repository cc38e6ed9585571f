"""Hours and days of devices, as sets and as stretches of time. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
DAY_HOURS = 24

# Before every reading. PostgreSQL's '-infinity' comes as this moment, without a time zone.
NEVER = datetime.min.replace(tzinfo=UTC)


class Bucket(NamedTuple):
    """A device and the start of an hour or of a UTC day."""

    device_id: str
    start: datetime


class Stretch(NamedTuple):
    """A device and some whole hours on end, half-open, within one UTC day."""

    device_id: str
    starts: datetime
    ends: datetime


def hour_of(moment: datetime) -> datetime:
    """Return the start of the hour that an aware moment lies in."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def day_of(moment: datetime) -> datetime:
    """Return the start of the UTC day that an aware moment lies in."""
    return hour_of(moment).replace(hour=0)


def day_start(day: date) -> datetime:
    """Return the start of a UTC day."""
    return datetime.combine(day, time.min, UTC)


def days_within(start: datetime, end: datetime) -> list[date]:
    """Return the UTC days that lie, with any of their time, in [start, end)."""
    first = day_of(start)
    return [(first + number * DAY).date() for number in range(-(-(end - first) // DAY))]


def hours_of_day(day: datetime) -> list[datetime]:
    """Return the hours of the UTC day that starts at `day`."""
    return [day + number * HOUR for number in range(DAY_HOURS)]


def around(hour: datetime, margin: timedelta) -> list[datetime]:
    """Return an hour and those before and after it that reach within `margin` of it, in order."""
    reach = -(-margin // HOUR)
    return [hour + number * HOUR for number in range(-reach, reach + 1)]


def stretches(buckets: Iterable[Bucket]) -> list[Stretch]:
    """Return hours as stretches, neighbours of one day joined, in the order of devices and time."""
    of_device: dict[str, set[datetime]] = defaultdict(set)
    for device_id, start in buckets:
        of_device[device_id].add(start)
    return [
        Stretch(device_id, first, last)
        for device_id in sorted(of_device)
        for first, last in _joined(sorted(of_device[device_id]))
    ]


def _joined(hours: Sequence[datetime]) -> Iterator[tuple[datetime, datetime]]:
    first = last = hours[0]
    for hour in hours[1:]:
        if hour != last + HOUR or hour.hour == 0:
            yield first, last + HOUR
            first = hour
        last = hour
    yield first, last + HOUR


def in_portions(found: Sequence[Stretch], hours_max: int) -> Iterator[list[Stretch]]:
    """Yield stretches some at a time, as many as hold no more than `hours_max` hours, but one at least."""
    portion: list[Stretch] = []
    hours = 0
    for stretch in found:
        length = (stretch.ends - stretch.starts) // HOUR
        if portion and hours + length > hours_max:
            yield portion
            portion, hours = [], 0
        portion.append(stretch)
        hours += length
    if portion:
        yield portion
