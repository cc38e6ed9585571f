"""A device's effective readings, wherever they are: in history, in the archive, or in both.

A reading that is in both is one, as it has one id; of readings with one timestamp that with the newest id counts. What
is asked first is history, so that what leaves it meanwhile is met in the archive: the file is complete before.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from hseie.analytics.reader import Reader
from hseie.archive import Archive, Part
from hseie.config import Config
from hseie.readings import Kind
from hseie.registers import REACH, is_register, power_max_kw

# Rows of the archive that one page of buckets is made from; a page that needs more is shorter. They pass through this
# process, where a hundred thousand take some tenths of a second and 50 MB.
ARCHIVED_MAX = 100_000

_MICROSECOND = timedelta(microseconds=1)

Reading = Mapping[str, Any]
Archived = tuple[Any, ...]  # device, timestamp, id, values
Span = tuple[datetime, datetime]


class DeviceReadings:
    """Reads the devices of one kind."""

    def __init__(self, reader: Reader, archive: Archive, kind: Kind, config: Config) -> None:
        self._reader = reader
        self._archive = archive
        self._kind = kind
        self._config = config

    async def first(
        self, device: str, start: datetime, end: datetime, most: int, *, ascending: bool
    ) -> Sequence[Reading]:
        """Return the first `most` effective readings in [start, end), by time or the other way: rows with the kind's
        columns.

        Raises DatabaseUnavailableError, TooManyQueriesError and ArchiveUnavailableError.
        """
        name = "history_oldest_first" if ascending else "history_newest_first"
        rows = await self._reader.rows(name, device, start, end, most, kind=self._kind)
        if len(rows) == most:  # what lies beyond is on another page
            last = rows[-1]["timestamp"]
            start, end = (start, last + _MICROSECOND) if ascending else (last, end)
        parts = await self.parts(start, end)
        if not parts:
            return rows
        found = {row["timestamp"]: row for row in rows}
        await self._add_archived(found, parts, device, (start, end), most, ascending=ascending)
        return [found[at] for at in sorted(found, reverse=not ascending)[:most]]

    async def _add_archived(
        self,
        found: dict[datetime, Reading],
        parts: Sequence[Part],
        device: str,
        span: Span,
        most: int,
        *,
        ascending: bool,
    ) -> None:
        """Add what the archive has, until as many are known as wanted with nothing unknown before or between them."""
        start, end = span
        limit = most + 1
        while True:
            rows = await self._archive.readings(
                parts, self._kind, [device], start, end, limit=limit, newest_first=not ascending
            )
            full = len(rows) == limit
            last = rows[-1][1] if rows else start
            if full and ascending:
                # Corrections of the last one may follow; of the newest first the one that counts is there.
                rows = [row for row in rows if row[1] < last]
                if not rows:
                    # There are nothing but corrections of one reading, however many: only the newest counts.
                    end_of_it = last + _MICROSECOND
                    rows = await self._archive.readings(
                        parts, self._kind, [device], last, end_of_it, limit=1, newest_first=True
                    )
                    last = end_of_it
            for row in rows:
                known = found.get(row[1])
                if known is None or known["id"] < row[2]:
                    found[row[1]] = self._row(row)
            start, end = (last, end) if ascending else (start, last)
            if not full or sum(at < last if ascending else at >= last for at in found) >= most:
                return

    def _row(self, archived: Archived) -> Reading:
        device, at, number, *values = archived
        return {**dict(zip(self._kind.columns, (device, at, *values), strict=True)), "id": number}

    async def parts(self, start: datetime, end: datetime) -> list[Part]:
        """Return the archive's parts that may hold readings of [start, end)."""
        if end <= start:
            return []
        rows = await self._reader.rows("archive_parts", self._kind.name, start.date(), (end - _MICROSECOND).date())
        return [Part.of(row) for row in rows]

    async def archived(self, device: str, span: Span, most: int, *, ascending: bool) -> list[Archived]:
        """Return the first `most` rows that the archive holds of [start, end), corrected ones too."""
        parts = await self.parts(*span)
        if not parts:
            return []
        return await self._archive.readings(parts, self._kind, [device], *span, limit=most, newest_first=not ascending)

    async def buckets(
        self, device: str, spans: Sequence[Span], width: timedelta, archived: Sequence[Archived]
    ) -> Sequence[Reading]:
        """Return the buckets of spans that begin and end with buckets, with the columns of rollups; of registers with
        the energy that has flown. `archived`: what the archive holds of the spans."""
        if not spans:
            return []
        register = is_register(self._kind, device, self._config.device)
        given = [*archived, *(await self._before(device, spans) if register else ())]
        starts, ends = [start for start, _ in spans], [end for _, end in spans]
        return await self._reader.rows(
            "history_buckets",
            [device] * len(spans),
            starts,
            ends,
            [register] * len(spans),
            min(starts),
            max(ends),
            power_max_kw(self._config.device),
            *([row[place] for row in given] for place in range(3 + len(self._kind.fields))),
            width,
            kind=self._kind,
        )

    async def _before(self, device: str, spans: Sequence[Span]) -> list[Archived]:
        """Return what a register showed before each span: the newest reading in history, and that in the archive."""
        starts = [start for start, _ in spans]
        rows = await self._reader.rows(
            "register_before", [device] * len(starts), starts, min(starts) - REACH, max(starts), kind=self._kind
        )
        found: list[Archived] = [tuple(row.values()) for row in rows]
        for start in starts:
            found += await self.archived(device, (start - REACH, start), 1, ascending=False)
        return found
