"""The energy of one vehicle over any window: whole days and hours from rollups, everything else from readings.

The answer is the same either way. All of it is read in one snapshot, and archived readings are handed to the statement
that correlates: what is in a file and in history is one reading, as it has one id.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from hseie.analytics.correlation import Energy
from hseie.analytics.given import GivenReadings, touches
from hseie.analytics.reader import Reader, Snapshot
from hseie.analytics.rolled import DAY
from hseie.analytics.spans import Division, Span, Trust, divide, widened
from hseie.archive import Archive
from hseie.config import Config
from hseie.database import Record
from hseie.pairing import PLAIN, Piece, Segment, Window, candidates, meeting_arguments, pieces
from hseie.readings import METER, VEHICLE, Kind
from hseie.registers import REACH, is_register
from hseie.rollup_settings import settings_of

# Vehicles of which is remembered what fed them; of others it is guessed by their ids.
GUESSES_MAX = 20_000

# Readings that lie farther apart are asked for one by one: a statement plans all partitions between its first and its
# last. Below, another statement costs more than these.
APART = 2 * DAY


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
    """What has to be known before sums are made, or a guess of it."""

    segments: list[Segment]
    trust: Trust
    archived: dict[Kind, set[date]]  # of which files have readings


@dataclass(frozen=True)
class _Plan:
    """What follows from an outset: the window, how it is divided, and the pieces to be read.

    What happened to registers is asked for by segments, also where no piece of them is read.
    """

    segments: list[Segment]
    window: Window
    division: Division
    counted: list[Piece]

    @classmethod
    def of(cls, outset: _Outset, window: Window) -> "_Plan":
        start, end = widened(window.start, window.end, outset.trust)
        division = divide(start, end, outset.trust)
        spans = [Window(*span, window.tolerance) for span in division.raw]
        counted = [piece for span in spans for piece in pieces(outset.segments, span)]
        return cls(outset.segments, Window(start, end, window.tolerance), division, counted)


class VehicleSums:
    """Adds up the energy of single vehicles.

    What is asked of the database depends on what it says: how far rollups are, which meter feeds the vehicle. Both are
    nearly always as they were for the question before. So they are guessed, and one statement says both what they are
    and the sums of the guess. Where it was wrong, or is not enough, it is asked again with what is known then, and
    others, in a snapshot.
    """

    def __init__(self, reader: Reader, archive: Archive, config: Config, at_once: Reader | None = None) -> None:
        """`at_once`: the reader for that one statement, if it is not the same."""
        self._reader = reader
        self._at_once = at_once or reader
        self._config = config
        self._settings = settings_of(config)
        self._rolled_until: datetime | None = None
        self._fed_by: dict[str, str | None] = {}  # guesses, the latest vehicles last
        self._given = GivenReadings(archive, config)

    async def of(self, vehicle_id: str, window: Window) -> Sums | None:
        """Return the sums of a window; None for a vehicle of which no reading was ever stored.

        Raises DatabaseUnavailableError, TooManyQueriesError and ArchiveUnavailableError.
        """
        meters = candidates(vehicle_id, self._config.analytics.vehicle_prefix, self._config.analytics.meter_prefix)
        guess = self._guess(vehicle_id, meters, window)
        plan = _Plan.of(guess, window)
        found = await self._ask(self._at_once, vehicle_id, meters, guess, plan)
        if "vehicle" not in found:
            return None
        outset = self._outset(vehicle_id, found, window)
        guessed = outset == guess or (outset is not None and _Plan.of(outset, window) == plan)
        if outset is not None and guessed and self._is_plain(outset, plan):
            self._remember(vehicle_id, outset)
            return _sums(plan, outset, [*found["rollups"], *found["raw"]])
        return await self._step_by_step(vehicle_id, meters, window, outset or guess)

    async def _step_by_step(
        self, vehicle_id: str, meters: Sequence[str], window: Window, outset: _Outset
    ) -> Sums | None:
        """Return the sums in several statements that see one moment. `outset`: the first guess."""
        async with self._reader.snapshot() as snapshot:
            plan = _Plan.of(outset, window)
            while True:
                found = await self._ask(snapshot, vehicle_id, meters, outset, plan)
                if "vehicle" not in found:
                    return None
                known = self._outset(vehicle_id, found, window)
                outset = known or await self._claimed(snapshot, vehicle_id, meters, found, window)
                guessed, plan = plan, _Plan.of(outset, window)
                if guessed == plan:
                    break
            self._remember(vehicle_id, outset)
            return _sums(plan, outset, [*found["rollups"], *await self._raw(snapshot, outset, plan, found["raw"])])

    def _guess(self, vehicle_id: str, meters: Sequence[str], window: Window) -> _Outset:
        usual = next((meter for meter in meters if meter != vehicle_id), None)
        segment = Segment(vehicle_id, self._fed_by.get(vehicle_id, usual), *_around(window))
        return _Outset([segment], Trust(self._rolled_until, margin=2 * window.tolerance), _archived_days({}))

    def _remember(self, vehicle_id: str, outset: _Outset) -> None:
        self._rolled_until = outset.trust.rolled_until or self._rolled_until
        self._fed_by.pop(vehicle_id, None)
        self._fed_by[vehicle_id] = outset.segments[-1].meter_id
        if len(self._fed_by) > GUESSES_MAX:
            del self._fed_by[next(iter(self._fed_by))]

    async def _ask(
        self, reader: Reader | Snapshot, vehicle_id: str, meters: Sequence[str], outset: _Outset, plan: _Plan
    ) -> dict[str, list[Record]]:
        """Return what there is to know, and the sums of a plan, as rows by what they are."""
        hours, days = plan.division.hours, plan.division.days
        registers = self._registers(outset.segments, plan.division.rolled)
        # Pieces with a register among them, or far apart, are no business of this statement.
        apart = len(_stretches(plan.counted)) > 1
        plain = [] if apart or self._registers(outset.segments, plan.division.raw) else plan.counted
        rows = await reader.rows(
            "performance_at_once",
            *meeting_arguments(plain, plan.window.tolerance, self._config.device)[:PLAIN],
            vehicle_id,
            meters,
            *_around(plan.window),
            *zip(*hours, strict=True) if hours else ((), ()),
            *zip(*days, strict=True) if days else ((), ()),
            *zip(*registers, strict=True) if registers else ((), (), (), ()),
        )
        found: dict[str, list[Record]] = {}
        for row in rows:
            found.setdefault(row["what"], []).append(row)
        return found

    def _outset(self, vehicle_id: str, found: dict[str, list[Record]], window: Window) -> _Outset | None:
        """Return what there is to know; None where the meters have to be asked for, because something is claimed."""
        if "claimed" in found:
            return None
        segments = [Segment(vehicle_id, found["by_id"][0]["name"], *_around(window))]
        return _Outset(segments, self._trust(found, window), _archived_days(found))

    async def _claimed(
        self,
        snapshot: Snapshot,
        vehicle_id: str,
        meters: Sequence[str],
        found: dict[str, list[Record]],
        window: Window,
    ) -> _Outset:
        rows = await snapshot.rows("performance_segments", [vehicle_id] * len(meters), meters, *_around(window))
        return _Outset([Segment(**row) for row in rows], self._trust(found, window), _archived_days(found))

    def _is_plain(self, outset: _Outset, plan: _Plan) -> bool:
        """Return whether one statement has all that is read for a plan: no register, no file, all of it together."""
        return (
            len(_stretches(plan.counted)) <= 1
            and not self._registers(outset.segments, plan.division.raw)
            and not any(
                touches(piece.starts, piece.ends, days) for days in outset.archived.values() for piece in plan.counted
            )
        )

    def _trust(self, found: dict[str, list[Record]], window: Window) -> Trust:
        rolled = found["rolled"][0]
        marks = [(row["name"], row["starts"]) for row in found.get("mark", ())]
        device = self._config.device
        # Of a meter and a vehicle with one id the marks have one name.
        registers = {name for name, _ in marks if any(is_register(kind, name, device) for kind in (METER, VEHICLE))}
        return Trust(
            rolled_until=rolled["ends"],
            hours_from=rolled["starts"],
            days_from=rolled["since"],
            marks=tuple(hour for name, hour in marks if name not in registers),
            register_marks=tuple(hour for name, hour in marks if name in registers),
            given_up=frozenset(row["starts"].date() for row in found.get("dropped", ())),
            margin=2 * window.tolerance,
            # Rollups made with other settings, or with another meter than the ids say now, are made anew and not read.
            made_as_now="paired" in found and rolled["name"] == self._settings,
        )

    def _registers(
        self, segments: Sequence[Segment], spans: Sequence[Span]
    ) -> list[tuple[str, str, datetime, datetime]]:
        """Return the registers of the segments, as kind, device, and from when to when they count in the spans."""
        return [
            (kind.name, device, max(segment.starts, start), min(segment.ends, end))
            for segment in segments
            for kind, device in ((METER, segment.meter_id), (VEHICLE, segment.vehicle_id))
            if device is not None and is_register(kind, device, self._config.device)
            for start, end in spans
            if segment.starts < end and segment.ends > start
        ]

    async def _raw(self, snapshot: Snapshot, outset: _Outset, plan: _Plan, plain: Sequence[Record]) -> Sequence[Record]:
        """Return the sums of pieces; `plain` are those of them without registers and without the archive."""
        given = [
            *await self._given.of(snapshot, METER, outset.archived[METER], plan.counted),
            *await self._given.of(snapshot, VEHICLE, outset.archived[VEHICLE], plan.counted),
        ]
        stretches = _stretches(plan.counted)
        if not given and len(stretches) <= 1 and not self._registers(outset.segments, plan.division.raw):
            return plain
        rows: list[Record] = []
        for near in stretches:
            first, last = near[0].starts - REACH, near[-1].ends
            known = [reading for reading in given if first <= reading.at < last]
            arguments = meeting_arguments(near, plan.window.tolerance, self._config.device, known)
            rows += await snapshot.rows("performance_correlate", *arguments, False)
        return rows


def _sums(plan: _Plan, outset: _Outset, rows: Iterable[Record]) -> Sums:
    found = list(rows)
    energy = sum((Energy.of(row) for row in found), Energy())
    events = sorted({event for row in found for event in row["events"] or ()})
    return Sums(plan.window, outset.segments, energy, events)


def _archived_days(found: dict[str, list[Record]]) -> dict[Kind, set[date]]:
    return {
        kind: {row["starts"].date() for row in found.get("archived", ()) if row["name"] == kind.name}
        for kind in (METER, VEHICLE)
    }


def _around(window: Window) -> Span:
    """Return the time in which has to be known what is there: what is read, and a day, by which a bound may move."""
    return window.read_start - DAY, window.read_end + DAY


def _stretches(counted: Iterable[Piece]) -> list[list[Piece]]:
    """Return the pieces in the order of time, apart where there is a gap of more than APART."""
    found: list[list[Piece]] = []
    for piece in sorted(counted, key=lambda piece: piece.starts):
        if found and piece.starts - found[-1][-1].ends <= APART:
            found[-1].append(piece)
        else:
            found.append([piece])
    return found
