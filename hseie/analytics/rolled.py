"""What may be asked of the whole fleet's rollups: ranges of whole hours that are closed, and whether an answer is still
true that was made from them."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hseie.analytics.reader import Reader
from hseie.answers import rfc3339

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
# Rollups that end longer ago than this are behind, and the answer says so.
BEHIND = timedelta(hours=2)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Rolled:
    """Rollups are there for the hours before `until` (None: there are none yet).

    `number` counts how often rollups of pairs have changed: what was made from them is true while it is the same.
    Hours before `hours_from` and days before `days_from` are not kept any more (None: all are). `made_as_now`: with the
    settings that this process has; else maintenance has not begun yet to make them anew, or is ahead of this process.
    """

    until: datetime | None
    number: int
    hours_from: datetime | None = None
    days_from: datetime | None = None
    made_as_now: bool = True


@dataclass(frozen=True)
class Hours:
    """A half-open range of whole hours, not empty."""

    start: datetime
    end: datetime

    @property
    def parts(self) -> tuple[datetime, datetime, datetime, datetime]:
        """Start, first and last bound of the whole UTC days inside, and end; where there is no whole day, both bounds
        are the end, and all is hours."""
        first, last = ceiling(self.start, DAY), floor(self.end, DAY)
        return (self.start, first, last, self.end) if first < last else (self.start, self.end, self.end, self.end)


async def rolled(reader: Reader, settings: str) -> Rolled:
    """Return what rollups there are; `settings` are this process's own. Raises DatabaseUnavailableError and
    TooManyQueriesError."""
    row = await reader.row("rollup_known", settings)
    return Rolled(**row) if row is not None else Rolled(None, 0)


def notes(known: Rolled, hours: Hours, now: datetime, *, until_now: bool) -> list[str]:
    """Return what a reader of figures made from rollups of `hours` should know of these, for people; `until_now`: he
    asked for the time up to now."""
    found = []
    if not known.made_as_now:
        found.append(
            "Rollups were made with other settings than the node has now (tolerance, prefixes, registers). These "
            "figures are of those; maintenance makes them anew."
        )
    if until_now and hours.end < now - BEHIND:
        found.append(f"Rollups end at {rfc3339(hours.end)}: maintenance is behind, or stopped.")
    return found


def latest_hours(length: timedelta, known: Rolled, now: datetime) -> Hours | None:
    """Return the latest closed hours that `length` fits into; None where none is closed.

    They end with the rollups and not with the clock: shortly after the full hour the former one is not yet closed.
    """
    if known.until is None:
        return None
    end = floor(min(known.until, now), HOUR)
    return _kept(end - ceiling_of(length), end, known)


def hours_between(start: datetime, end: datetime, known: Rolled) -> Hours | None:
    """Return the closed ones of the hours that [start, end) touches; None where there is none."""
    if known.until is None:
        return None
    return _kept(floor(start, HOUR), min(ceiling(end, HOUR), known.until), known)


def _kept(start: datetime, end: datetime, known: Rolled) -> Hours | None:
    """Return [start, end) so that rollups are there for it: where hours are not kept any more, in whole days."""
    if known.hours_from is not None:
        start = floor(start, DAY) if start < known.hours_from else start
        end = ceiling(end, DAY) if end < known.hours_from else end
    if known.days_from is not None:
        start = max(start, known.days_from)
    return Hours(start, end) if start < end else None


def floor(moment: datetime, width: timedelta) -> datetime:
    """Return the start of the bucket of `width` that `moment` lies in; buckets count from midnight UTC."""
    return moment - (moment - _EPOCH) % width


def ceiling(moment: datetime, width: timedelta) -> datetime:
    """Return the first start of a bucket of `width` that is not before `moment`."""
    return moment + (_EPOCH - moment) % width


def ceiling_of(length: timedelta) -> timedelta:
    """Return the least whole hours that `length` fits into."""
    return length + -length % HOUR
