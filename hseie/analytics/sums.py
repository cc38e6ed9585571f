"""The energy of one vehicle over any window: whole days and hours from rollups, everything else from readings.

The answer is the same either way. All of it is read in one snapshot, and archived readings are handed to the statement
that correlates: what is in a file and in history is one reading, as it has one id.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from hseie.analytics.correlation import Energy
from hseie.analytics.reader import Reader, Snapshot
from hseie.analytics.rolled import DAY
from hseie.analytics.spans import Division, Span, Trust, divide, widened
from hseie.archive import Archive, Part
from hseie.config import Config
from hseie.database import Record
from hseie.errors import ArchiveUnavailableError
from hseie.pairing import PLAIN, Given, Piece, Segment, Window, candidates, meeting_arguments, pieces
from hseie.predecessors import registers_before
from hseie.readings import METER, VEHICLE, Kind
from hseie.registers import REACH, is_register
from hseie.rollup_settings import settings_of

# Archived readings of one kind that one answer may take; they pass through this process. Rollups are there for archived
# days, so that only edges are read, and what came late.
ARCHIVED_MAX = 200_000

# Readings that lie farther apart are asked for one by one: a statement plans all partitions between its first and its
# last. Below, another statement costs more than these.
APART = 2 * DAY

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Sums:
    """The energy of a vehicle in a window, the segments of meters around it, and what happened to registers in it.

    The window is wider than the one asked for where a bound lay in a day that has no readings any more.
    """

    window: Window
    segments: Sequence[Segment]
    energy: Energy
    events: Sequence[str]


@dataclass(frozen=True)
class _Outset:
    segments: list[Segment]
    trust: Trust
    archived: dict[Kind, set[date]]


class VehicleSums:
    """Adds up the energy of single vehicles."""

    def __init__(self, reader: Reader, archive: Archive, config: Config) -> None:
        self._reader = reader
        self._archive = archive
        self._config = config
        self._settings = settings_of(config)

    async def of(self, vehicle_id: str, window: Window) -> Sums | None:
        """Return the sums of a window; None for a vehicle of which no reading was ever stored.

        Raises DatabaseUnavailableError, TooManyQueriesError and ArchiveUnavailableError.
        """
        async with self._reader.snapshot() as snapshot:
            outset = await self._outset(snapshot, vehicle_id, window)
            if outset is None:
                return None
            start, end = widened(window.start, window.end, outset.trust)
            window = Window(start, end, window.tolerance)
            division = divide(start, end, outset.trust)
            rows: list[Record] = []
            if division.rolled:
                rows += await self._rolled(snapshot, vehicle_id, outset.segments, division)
            if division.raw:
                rows += await self._raw(snapshot, outset, window, division.raw)
        energy = sum((Energy.of(row) for row in rows), Energy())
        events = sorted({event for row in rows for event in row["events"] or ()})
        return Sums(window, outset.segments, energy, events)

    async def _outset(self, snapshot: Snapshot, vehicle_id: str, window: Window) -> _Outset | None:
        analytics = self._config.analytics
        meters = candidates(vehicle_id, analytics.vehicle_prefix, analytics.meter_prefix)
        # A bound may move by a day.
        start, end = window.read_start - DAY, window.read_end + DAY
        rows = await snapshot.rows("performance_outset", [vehicle_id] * len(meters), meters, start, end, vehicle_id)
        found: dict[str, list[Record]] = {}
        for row in rows:
            found.setdefault(row["what"], []).append(row)
        if "vehicle" not in found:
            return None
        archived: dict[Kind, set[date]] = {
            kind: {row["starts"].date() for row in found.get("archived", ()) if row["name"] == kind.name}
            for kind in (METER, VEHICLE)
        }
        segments = [Segment(vehicle_id, row["name"], row["starts"], row["ends"]) for row in found["segment"]]
        segments.sort(key=lambda segment: segment.starts)
        return _Outset(segments, self._trust(found, window), archived)

    def _trust(self, found: dict[str, list[Record]], window: Window) -> Trust:
        kept = found["kept"][0]
        marks = [(row["name"], row["starts"]) for row in found.get("mark", ())]
        device = self._config.device
        return Trust(
            rolled_until=found["rolled"][0]["ends"],
            hours_from=kept["starts"],
            days_from=kept["ends"],
            marks=[hour for name, hour in marks if not is_register(name, device)],
            register_marks=[hour for name, hour in marks if is_register(name, device)],
            given_up=frozenset(row["starts"].date() for row in found.get("dropped", ())),
            margin=2 * window.tolerance,
            # Rollups made with other settings, or with another meter than the ids say now, are made anew and not read.
            made_as_now="paired" in found and found["rolled"][0]["name"] == self._settings,
        )

    async def _rolled(
        self, snapshot: Snapshot, vehicle_id: str, segments: Sequence[Segment], division: Division
    ) -> Sequence[Record]:
        registers = self._registers(segments, division.rolled)
        return await snapshot.rows(
            "performance_rolled",
            vehicle_id,
            [start for start, _ in division.hours],
            [end for _, end in division.hours],
            [start for start, _ in division.days],
            [end for _, end in division.days],
            *([register[place] for register in registers] for place in range(4)),
        )

    def _registers(
        self, segments: Sequence[Segment], spans: Sequence[Span]
    ) -> list[tuple[str, str, datetime, datetime]]:
        """Return the registers of the segments, as kind, device, and from when to when they count in the spans."""
        return [
            (kind.name, device, max(segment.starts, start), min(segment.ends, end))
            for segment in segments
            for kind, device in ((METER, segment.meter_id), (VEHICLE, segment.vehicle_id))
            if device is not None and is_register(device, self._config.device)
            for start, end in spans
            if segment.starts < end and segment.ends > start
        ]

    async def _raw(
        self, snapshot: Snapshot, outset: _Outset, window: Window, spans: Sequence[Span]
    ) -> Sequence[Record]:
        counted = [
            piece for start, end in spans for piece in pieces(outset.segments, Window(start, end, window.tolerance))
        ]
        given = [
            *await self._given(snapshot, METER, outset.archived[METER], counted),
            *await self._given(snapshot, VEHICLE, outset.archived[VEHICLE], counted),
        ]
        plain = not given and not self._registers(outset.segments, spans)
        rows: list[Record] = []
        for near in _stretches(counted):
            first, last = near[0].starts - REACH, near[-1].ends
            known = [reading for reading in given if first <= reading.at < last]
            arguments = meeting_arguments(near, window.tolerance, self._config.device, known)
            if plain:
                rows += await snapshot.rows("performance_plain", *arguments[:PLAIN])
            else:
                rows += await snapshot.rows("performance_correlate", *arguments, False)
        return rows

    async def _given(
        self, snapshot: Snapshot, kind: Kind, archived: set[date], counted: Sequence[Piece]
    ) -> Iterable[Given]:
        """Return what has to be known of one kind besides history: readings in files, and those before registers."""
        reads = [
            (device, piece.starts, piece.ends)
            for piece in counted
            if (device := piece.meter_id if kind is METER else piece.vehicle_id) is not None
        ]
        rows: list[tuple[Any, ...]] = []
        for device, start, end in reads if archived else ():
            rows += await self._archived(snapshot, kind, archived, (device, start, end), ARCHIVED_MAX - len(rows))
        asked = {(device, start) for device, start, _ in reads if is_register(device, self._config.device)}
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
        first, last = start.astimezone(UTC).date(), (end - _MICROSECOND).astimezone(UTC).date()
        if not any(first <= day <= last for day in days):
            return []
        parts = [Part.of(row) for row in await snapshot.rows("archive_parts", kind.name, first, last)]
        limit = most if newest_first else most + 1
        rows = await self._archive.readings(parts, kind, [device], start, end, limit=limit, newest_first=newest_first)
        if len(rows) > most:
            raise ArchiveUnavailableError("more of them than one answer may take are not in rollups at the moment")
        return rows


def _stretches(counted: Iterable[Piece]) -> list[list[Piece]]:
    """Return the pieces in the order of time, apart where there is a gap of more than APART."""
    found: list[list[Piece]] = []
    for piece in sorted(counted, key=lambda piece: piece.starts):
        if found and piece.starts - found[-1][-1].ends <= APART:
            found[-1].append(piece)
        else:
            found.append([piece])
    return found
