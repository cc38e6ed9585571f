"""`GET /v1/analytics/stats`: the whole fleet, from figures that are cheap or kept for a while."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import structlog
from aiohttp import web

from hseie.analytics.alerts import WINDOW, AlertsRoute
from hseie.analytics.correlation import Energy, energy, hundredths, segments
from hseie.analytics.kept import Kept, KeptWhileTrue
from hseie.analytics.query import Query
from hseie.analytics.reader import Reader, TooManyQueriesError
from hseie.analytics.representation import as_json
from hseie.analytics.rolled import HOUR, Hours, latest_hours, notes, rolled
from hseie.analytics.waiting import Waiting
from hseie.answers import Fleet, FleetEnergy, rfc3339
from hseie.config import Config
from hseie.database import Record
from hseie.errors import DatabaseUnavailableError
from hseie.pairing import Window
from hseie.readings import KINDS, Kind
from hseie.rollup_settings import settings_of

PARAMETERS = ("window",)
# Longer ranges come from rollups: adding up a day of the nominal fleet means reading 28.8 million rows.
ENERGY_WINDOW = timedelta(minutes=15)
ENERGY_PERIOD = "15m"
# Above so many vehicles the energies are not added up on request: 10,000 take about a second.
VEHICLES_MAX = 50_000

WINDOWS_KEPT = 16  # of sums that stay true while the rollups stay as they are

SAMPLE_INTERVAL_S = 5.0
SAMPLES = 7  # the rate is that of the last half minute

_END_OF_TIME = datetime(9999, 12, 31, tzinfo=UTC)
_log = structlog.get_logger("hseie.analytics")


@dataclass(frozen=True)
class _Sums:
    start: datetime
    end: datetime
    period: str
    energy: Energy
    computed_at: datetime
    pending: int = 0
    notes: list[str] = field(default_factory=list)


class FleetRoute:
    """Answers for the fleet. `now` is the clock."""

    def __init__(
        self, reader: Reader, config: Config, now: Callable[[], datetime], alerts: AlertsRoute, waiting: Waiting
    ) -> None:
        self._reader = reader
        self._waiting = waiting
        self._config = config
        self._settings = settings_of(config)
        self._now = now
        self._alerts = alerts
        self._rolled: KeptWhileTrue[tuple[int, Hours], tuple[Energy, datetime]] = KeptWhileTrue(WINDOWS_KEPT)
        self._samples: deque[tuple[float, int]] = deque(maxlen=SAMPLES)
        self._devices = Kept(self._read_devices)
        self._oldest = Kept(self._read_oldest, costly=True)
        self._sums = Kept(self._read_sums)

    async def stats(self, request: web.Request) -> web.Response:
        query = Query(request.query, PARAMETERS)
        length, period = query.window("window"), query.text("window")
        if length is not None and length < HOUR:
            query.refuse("window", "window must be at least 1h; without it, energies are those of the last 15 minutes")
        if length is not None and length > timedelta(days=self._config.ingest.past_max_days):
            query.refuse("window", f"at most {self._config.ingest.past_max_days} days at a time")
        query.check()
        return as_json(request, await self.figures(length, period or ""), chosen=False)

    async def figures(self, length: timedelta | None = None, period: str = "") -> Fleet:
        """Return the figures of the fleet, none older than it takes to keep the database at ease.

        The energies are those of the last 15 minutes, or of the latest closed hours of `length`, called `period`.
        Raises DatabaseUnavailableError and TooManyQueriesError.
        """
        (devices, total_readings, computed_at), oldest, sums, (alerts, silent) = await asyncio.gather(
            self._devices.value(),
            self._oldest_or_none(),
            self._latest_sums() if length is None else self._rolled_sums(length, period),
            self._counts(length or WINDOW),
        )
        return Fleet(
            total_vehicles=devices["total_vehicles"],
            total_meters=devices["total_meters"],
            total_readings=total_readings,
            avg_soc=_number(devices["avg_soc"]),
            avg_battery_temp=_number(devices["avg_battery_temp"]),
            oldest_reading=rfc3339(oldest) if oldest is not None else None,
            latest_reading=rfc3339(devices["latest_reading"]) if devices["latest_reading"] is not None else None,
            energy_period=sums.period if sums is not None else period or ENERGY_PERIOD,
            total_energy_consumed_ac=hundredths(sums.energy.ac_kwh) if sums is not None else None,
            total_energy_delivered_dc=hundredths(sums.energy.dc_kwh) if sums is not None else None,
            efficiency_ratio=_number(sums.energy.efficiency_pct) if sums is not None else None,
            energy=_energy_answer(sums) if sums is not None else None,
            alerts=alerts,
            silent_devices=silent,
            ingest_rate=rate(self._samples),
            computed_at=rfc3339(computed_at),
        )

    async def sample_rate(self) -> None:
        """Look at the books every few seconds, for ever."""
        while True:
            try:
                self._samples.append((time.monotonic(), await self._count("received")))
            except DatabaseUnavailableError:
                pass  # the next sample tells the average over the gap
            except Exception:
                _log.exception("sampling_failed")
            await asyncio.sleep(SAMPLE_INTERVAL_S)

    async def _count(self, column: str) -> int:
        return sum(row[column] for row in await self._reader.rows("receipt_books"))

    async def _read_devices(self) -> tuple[Record, int, datetime]:
        rows = await self._reader.rows("fleet_current")
        return rows[0], await self._count("stored"), self._now()

    async def _read_oldest(self) -> datetime | None:
        found = [await self._oldest_of(kind) for kind in KINDS]
        if (archived := await self._reader.row("fleet_archived")) is not None:
            found.append(archived["oldest"])
        return min((moment for moment in found if moment is not None), default=None)

    async def _oldest_of(self, kind: Kind) -> datetime | None:
        # Any reading, then any in an older partition, until there is none; then the first of that day.
        some: datetime | None = None
        day = _END_OF_TIME
        while (row := await self._reader.row("fleet_any_reading", day, kind=kind)) is not None:
            some = row["timestamp"]
            day = some.replace(hour=0, minute=0, second=0, microsecond=0)
        if some is None:
            return None
        row = await self._reader.row("fleet_oldest", day, some, kind=kind)
        return row["min"] if row is not None else None

    async def _oldest_or_none(self) -> datetime | None:
        try:
            return await self._oldest.value()
        except DatabaseUnavailableError:
            return None  # as in _read_sums

    async def _counts(self, length: timedelta) -> tuple[int | None, int | None]:
        try:
            return await self._alerts.counts(length)
        except (DatabaseUnavailableError, TooManyQueriesError):
            return None, None  # as in _read_sums; or many ask for alerts of many windows

    async def _latest_sums(self) -> _Sums | None:
        # Where the latest minutes are too many rows, the latest hour is there as soon as it is rolled up.
        return await self._sums.value() or await self._rolled_sums(HOUR, "1h")

    async def _rolled_sums(self, length: timedelta, period: str) -> _Sums | None:
        known = await rolled(self._reader, self._settings)
        now = self._now()
        hours = latest_hours(length, known, now)
        if hours is None:
            return None
        sums, at = await self._rolled.value((known.number, hours), lambda: self._read_rolled(hours))
        waiting = await self._waiting.of(known, hours)
        return _Sums(hours.start, hours.end, period, sums, at, waiting, notes(known, hours, now, until_now=True))

    async def _read_rolled(self, hours: Hours) -> tuple[Energy, datetime]:
        row = await self._reader.row("fleet_rolled", *hours.parts)
        return Energy.of(row) if row is not None else Energy(), self._now()

    async def _read_sums(self) -> _Sums | None:
        now = self._now()
        tolerance = timedelta(seconds=self._config.analytics.correlation_window_s)
        window = Window(now - ENERGY_WINDOW, now, tolerance)
        rows = await self._reader.rows("fleet_active_vehicles", window.start, VEHICLES_MAX + 1)
        if len(rows) > VEHICLES_MAX:
            return None
        try:
            found = await segments(self._reader, [row["vehicle_id"] for row in rows], window, self._config.analytics)
            sums = await energy(self._reader, found, window, self._config)
            return _Sums(window.start, window.end, ENERGY_PERIOD, sums, now)
        except DatabaseUnavailableError:
            # Cancelled by its time-out, most likely; where the database is away, the other figures say so.
            return None


def rate(samples: deque[tuple[float, int]]) -> float | None:
    """Return readings a second over all samples of (monotonic seconds, readings received); None before the second."""
    if len(samples) < 2:
        return None
    (first_s, first), (last_s, last) = samples[0], samples[-1]
    return round(max(0, last - first) / (last_s - first_s), 1) if last_s > first_s else None


def _energy_answer(sums: _Sums) -> FleetEnergy:
    return FleetEnergy(
        from_=rfc3339(sums.start),
        to=rfc3339(sums.end),
        coverage=sums.energy.coverage,
        computed_at=rfc3339(sums.computed_at),
        pending=sums.pending,
        notes=sums.notes,
    )


def _number(value: Decimal | None) -> float | None:
    return float(value) if value is not None else None
