"""Where readings are: which days history has, and what has to be handed to statements besides."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from hseie.database import statement
from hseie.maintenance.stretches import DAY, Stretch, day_start
from hseie.predecessors import registers_before
from hseie.readings import KINDS, Kind

Row = tuple[Any, ...]  # device, timestamp, id, and the kind's values


@dataclass(frozen=True)
class Place:
    """Where the readings of a kind and UTC day are. `given_up`: what is there is not all there was."""

    in_history: bool
    in_files: bool
    given_up: bool


class RawReadings:
    """What is known of the days, as of the latest `look`."""

    def __init__(self) -> None:
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

    async def next_day(self, connection: Any, start: date, end: datetime) -> date | None:
        """Return the first UTC day from `start` on that begins before `end` and has any readings, None for none."""
        days = {day for places in self._places.values() for day in places}
        for day in sorted(day for day in days if day >= start and day_start(day) < end):
            for kind in KINDS:
                place = self._places[kind].get(day)
                if place is not None and (place.in_files or (place.in_history and await _any(connection, kind, day))):
                    return day
        return None

    async def archived(self, kind: Kind, devices: Collection[str], start: datetime, end: datetime) -> list[Row]:
        """Return the readings of devices in [start, end) that are in files."""
        return []

    async def before(self, connection: Any, kind: Kind, reads: Sequence[Stretch]) -> list[Row]:
        """Return the newest reading before each stretch of a register, where there is one within its reach."""
        return await registers_before(connection.fetch, kind, [(read.device_id, read.starts) for read in reads])


async def _any(connection: Any, kind: Kind, day: date) -> bool:
    start = day_start(day)
    found: bool = await connection.fetchval(statement("rollup_any_reading", kind), start, start + DAY)
    return found
