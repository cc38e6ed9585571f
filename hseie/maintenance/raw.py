"""Where readings are: which days history has, which the archive, and what has to be handed to statements besides."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from hseie.archive import Archive, Part, parts_of
from hseie.config import Config
from hseie.database import statement
from hseie.maintenance.stretches import DAY, HOUR, Bucket, Stretch, day_start, hour_of
from hseie.predecessors import registers_before
from hseie.readings import KINDS, Kind
from hseie.registers import REACH

# Hours of devices that one statement reads: with a reading a minute 120,000 readings, a third of a second. Those of the
# archive pass through our memory, half a kilobyte each; a reading a second makes 0.7 million of these.
HOURS_AT_ONCE = 2000
HOURS_OF_FILES_AT_ONCE = 200

Row = tuple[Any, ...]  # device, timestamp, id, and the kind's values


@dataclass(frozen=True)
class Place:
    """Where the readings of a kind and UTC day are. `given_up`: what is there is not all there was."""

    in_history: bool
    in_files: bool
    given_up: bool


class RawReadings:
    """What is known of the days, as of the latest `look`, and the archive.

    Which files there are is asked each time: a day may leave history between two looks.
    """

    def __init__(self, config: Config, archive: Archive | None = None) -> None:
        self._archive = archive or Archive.of(config)
        self._places: dict[Kind, dict[date, Place]] = {kind: {} for kind in KINDS}

    async def look(self, connection: Any) -> None:
        """See which days there are."""
        for kind in KINDS:
            rows = await connection.fetch(statement("rollup_raw_days"), kind.name)
            self._places[kind] = {
                row["day"]: Place(row["in_history"], row["in_files"], row["given_up"]) for row in rows
            }

    def whole(self, kind: Kind, day: date) -> bool:
        """Return whether rollups of a UTC day can be made, that is, whether its readings have not been given up."""
        place = self._places[kind].get(day)
        return place is None or not place.given_up

    def days_in_files(self) -> list[datetime]:
        """Return the starts of all UTC days that need the archive, of any kind, and of those that follow them."""
        days = {day for places in self._places.values() for day, place in places.items() if place.in_files}
        return sorted({day_start(day) for day in days} | {day_start(day) + DAY for day in days})

    def hours_at_once(self, start: datetime, end: datetime) -> int:
        """Return how many hours of devices to read together, where all lie in [start, end)."""
        return HOURS_OF_FILES_AT_ONCE if any(self._has_files(kind, start, end) for kind in KINDS) else HOURS_AT_ONCE

    async def next_day(self, connection: Any, start: date, end: datetime) -> date | None:
        """Return the first UTC day from `start` on that begins before `end` and has any readings, None for none."""
        days = {day for places in self._places.values() for day in places}
        for day in sorted(day for day in days if day >= start and day_start(day) < end):
            for kind in KINDS:
                place = self._places[kind].get(day)
                if place is not None and (place.in_files or (place.in_history and await _any(connection, kind, day))):
                    return day
        return None

    async def newest_day(self, connection: Any) -> date | None:
        """Return the last UTC day that has, or had, any readings, None for none."""
        for day in sorted({day for places in self._places.values() for day in places}, reverse=True):
            for kind in KINDS:
                place = self._places[kind].get(day)
                if place is None:
                    continue
                if place.in_files or place.given_up or (place.in_history and await _any(connection, kind, day)):
                    return day
        return None

    async def archived(
        self, connection: Any, kind: Kind, devices: Collection[str], start: datetime, end: datetime
    ) -> list[Row]:
        """Return the readings of devices in [start, end) that are in files. Raises ArchiveUnavailableError."""
        parts = await parts_of(connection, kind, start.date(), end.date())
        return await self._archive.readings(parts, kind, sorted(devices), start, end) if parts else []

    async def before(self, connection: Any, kind: Kind, reads: Sequence[Stretch]) -> list[Row]:
        """Return the newest reading before each stretch of a register, where there is one within its reach.

        Raises ArchiveUnavailableError.
        """
        if not reads:
            return []
        places = sorted({(read.device_id, read.starts) for read in reads})
        found = await registers_before(connection.fetch, kind, places)
        first, last = min(read.starts for read in reads) - REACH, max(read.starts for read in reads)
        parts = await parts_of(connection, kind, first.date(), last.date())
        if not parts:
            return found
        times: dict[str, list[datetime]] = defaultdict(list)
        for row in found:
            times[row[0]].append(row[1])
        for device, start in places:
            latest = max((at for at in times[device] if at < start), default=start - REACH)
            near = _of_days(parts, latest, start)
            found += await self._archive.readings(near, kind, [device], latest, start, limit=1, newest_first=True)
        return found

    async def after(self, connection: Any, kind: Kind, hours: Sequence[Bucket]) -> list[Bucket]:
        """Return of each hour of a register the hour of the next reading after it, where there is one within its reach.

        Raises ArchiveUnavailableError.
        """
        if not hours:
            return []
        devices, starts = zip(*hours, strict=True)
        rows = await connection.fetch(
            statement("rollup_register_next", kind), devices, starts, min(starts) + HOUR, max(starts) + HOUR + REACH
        )
        found = [Bucket(row["device_id"], row["bucket"]) for row in rows]
        parts = await parts_of(connection, kind, min(starts).date(), (max(starts) + HOUR + REACH).date())
        if not parts:
            return found
        times: dict[str, list[datetime]] = defaultdict(list)
        for hour in found:
            times[hour.device_id].append(hour.start)
        for device, start in hours:
            end = min((later for later in times[device] if later > start), default=start + HOUR + REACH)
            near = _of_days(parts, start + HOUR, end)
            later = await self._archive.readings(near, kind, [device], start + HOUR, end, limit=1)
            found += [Bucket(row[0], hour_of(row[1])) for row in later]
        return found

    def _has_files(self, kind: Kind, start: datetime, end: datetime) -> bool:
        return any(place.in_files and start.date() <= day <= end.date() for day, place in self._places[kind].items())


def _of_days(parts: Iterable[Part], start: datetime, end: datetime) -> list[Part]:
    return [part for part in parts if start.date() <= part.day <= end.date()]


async def _any(connection: Any, kind: Kind, day: date) -> bool:
    start = day_start(day)
    found: bool = await connection.fetchval(statement("rollup_any_reading", kind), start, start + DAY)
    return found
