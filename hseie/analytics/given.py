"""What the statement that correlates is given besides history: archived readings, and those before registers."""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from hseie.analytics.reader import Snapshot, TooManyQueriesError
from hseie.archive import Archive, Part
from hseie.config import Config
from hseie.errors import ArchiveUnavailableError
from hseie.pairing import Given, Piece
from hseie.predecessors import registers_before
from hseie.readings import METER, Kind
from hseie.registers import REACH, is_register

# Archived readings of one kind that one answer may take; they pass through this process. Rollups are there for archived
# days, so that only edges are read, and what came late.
ARCHIVED_MAX = 200_000

_MICROSECOND = timedelta(microseconds=1)


class GivenReadings:
    """Reads them for pieces."""

    def __init__(self, archive: Archive, config: Config) -> None:
        self._archive = archive
        self._config = config
        # A question that waits for files keeps its connection: one is left for those that need none.
        self._reading_files_max = max(1, config.analytics.connections - 1)
        self._reading_files = 0

    async def of(
        self, snapshot: Snapshot, kind: Kind, archived: set[date], counted: Sequence[Piece]
    ) -> Iterable[Given]:
        """Return what pieces need of one kind. `archived`: the UTC days of which files have readings.

        Raises ArchiveUnavailableError and TooManyQueriesError.
        """
        reads = [
            (device, piece.starts, piece.ends)
            for piece in counted
            if (device := piece.meter_id if kind is METER else piece.vehicle_id) is not None
        ]
        rows: list[tuple[Any, ...]] = []
        for device, start, end in reads if archived else ():
            rows += await self._archived(snapshot, kind, archived, (device, start, end), ARCHIVED_MAX - len(rows))
        asked = {(device, start) for device, start, _ in reads if is_register(kind, device, self._config.device)}
        before = await registers_before(snapshot.fetch, kind, asked) if asked else []
        for device, start in sorted(asked) if archived else ():
            # A file may hold a newer one than history, which has what came late for an older day.
            newest = max((row[1] for row in before if row[0] == device and row[1] < start), default=start - REACH)
            rows += await self._archived(snapshot, kind, archived, (device, newest, start), 1, newest_first=True)
        return [Given.of(kind, row) for row in [*rows, *before]]

    async def _archived(
        self,
        snapshot: Snapshot,
        kind: Kind,
        days: set[date],
        read: tuple[str, datetime, datetime],
        most: int,
        *,
        newest_first: bool = False,
    ) -> list[tuple[Any, ...]]:
        """Return what files hold of a device in a span, at most the newest `most` if these are enough."""
        device, start, end = read
        if not touches(start, end, days):
            return []
        parts = [Part.of(row) for row in await snapshot.rows("archive_parts", kind.name, *days_of(start, end))]
        limit = most if newest_first else most + 1
        if self._reading_files >= self._reading_files_max:
            raise TooManyQueriesError("other questions wait for the archive")
        self._reading_files += 1
        try:
            async with asyncio.timeout(self._config.analytics.statement_timeout_ms / 1000):
                rows = await self._archive.readings(
                    parts, kind, [device], start, end, limit=limit, newest_first=newest_first
                )
        except TimeoutError:
            raise ArchiveUnavailableError("the archive did not answer in time") from None
        finally:
            self._reading_files -= 1
        if len(rows) > most:
            raise ArchiveUnavailableError("more of them than one answer may take are not in rollups at the moment")
        return rows


def days_of(start: datetime, end: datetime) -> tuple[date, date]:
    """Return the first and the last UTC day that [start, end) touches."""
    return start.astimezone(UTC).date(), (end - _MICROSECOND).astimezone(UTC).date()


def touches(start: datetime, end: datetime, days: Collection[date]) -> bool:
    """Return whether [start, end) touches one of the UTC days."""
    first, last = days_of(start, end)
    return any(first <= day <= last for day in days)
