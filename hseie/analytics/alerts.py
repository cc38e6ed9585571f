"""`GET /v1/analytics/alerts`: pairs that lose too much, the worst first, and devices that are silent.

Pairs are judged by the rollups of closed hours; of late readings that are not yet in them, the answer tells how many
marks wait. On a node so fresh that no closed hour has any, the latest minutes of a small fleet are judged instead.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from aiohttp import web

from hseie.alert_answers import AlertPair, Alerts, SilentDevice
from hseie.analytics.correlation import Energy, energy_of_each, hundredths, segments
from hseie.analytics.judged import JudgedPairs, Pairs
from hseie.analytics.kept import Kept, KeptWhileTrue
from hseie.analytics.performance import window_of
from hseie.analytics.query import Query
from hseie.analytics.reader import Reader
from hseie.analytics.representation import Table, as_csv, as_json, asks_for_csv
from hseie.analytics.rolled import Hours, Rolled, hours_between, latest_hours, notes, rolled
from hseie.analytics.waiting import Waiting
from hseie.answers import rfc3339
from hseie.config import Config
from hseie.database import Record
from hseie.pairing import Window
from hseie.readings import KINDS, Kind
from hseie.rollup_settings import settings_of

PARAMETERS = ("window", "from", "to", "limit", "threshold", "format", "of")
LISTS = ("pairs", "silent")
LIMIT_DEFAULT = 100
LIMIT_MAX = 1000
WINDOW = timedelta(hours=24)
THRESHOLD_MAX = 1000.0
# Windows whose pairs are kept: of each the LIMIT_MAX worst, about half a megabyte, and a table of efficiencies, which
# takes two megabytes at most and a tenth of one for ten thousand pairs.
ANSWERS_KEPT = 16
# What is judged while no hour is closed, and by how many vehicles at most: ten thousand take about a second.
RAW_WINDOW = timedelta(minutes=15)
RAW_VEHICLES_MAX = 10_000
# So long without a reading is no silence: it may wait in a journal or a flush.
SILENCE_LEAST_S = 10.0


@dataclass(frozen=True)
class Silence:
    """The devices that were silent at `at`, at most LIMIT_MAX, and how many there were."""

    longest: list[SilentDevice]
    found: int
    at: datetime


@dataclass(frozen=True)
class Judged:
    """What the pairs of an answer stand on."""

    pairs: Pairs
    source: str
    start: datetime | None = None
    end: datetime | None = None
    pending: int = 0
    notes: list[str] = field(default_factory=list)


class AlertsRoute:
    """Answers for the fleet. `now` is the clock."""

    def __init__(self, reader: Reader, config: Config, now: Callable[[], datetime], waiting: Waiting) -> None:
        self._reader = reader
        self._waiting = waiting
        self._config = config
        self._settings = settings_of(config)
        self._now = now
        self._pairs: KeptWhileTrue[tuple[int, Hours], JudgedPairs] = KeptWhileTrue(ANSWERS_KEPT)
        self._silence = Kept(self._read_silence, costly=True)
        self._raw = Kept(self._read_raw)

    async def alerts(self, request: web.Request) -> web.Response:
        query = Query(request.query, PARAMETERS)
        as_table = asks_for_csv(query, request)
        limit = query.whole("limit", LIMIT_DEFAULT, 1, LIMIT_MAX)
        threshold = query.number("threshold", self._config.analytics.alert_efficiency_pct, 0, THRESHOLD_MAX)
        shown = query.choice("of", LISTS, LISTS[0])
        now = self._now()
        window, period = window_of(query, self._config, now)
        known = await rolled(self._reader, self._settings)
        if "from" in query:
            hours = hours_between(window.start, window.end, known)
        else:
            hours = latest_hours(window.end - window.start, known, now)
        judged = await self._judge(hours, known, threshold, window.end >= now - RAW_WINDOW)
        silence = await self._silence.value()
        answer = _answer(period, threshold, limit, judged, silence)
        return as_csv(request, _table(answer, shown)) if as_table else as_json(request, answer)

    async def counts(self, length: timedelta = WINDOW) -> tuple[int | None, int]:
        """Return how many pairs are reported for the latest hours of `length`, None where nothing could be judged, or
        only by other settings than these, and how many devices are silent.

        Raises DatabaseUnavailableError and TooManyQueriesError.
        """
        known = await rolled(self._reader, self._settings)
        hours = latest_hours(length, known, self._now())
        judged = await self._judge(hours, known, self._config.analytics.alert_efficiency_pct, True)
        silence = await self._silence.value()
        stands = judged.source == "raw" or (judged.source == "rollups" and known.made_as_now)
        return judged.pairs.found if stands else None, silence.found

    async def _judge(self, hours: Hours | None, known: Rolled, threshold: float, until_now: bool) -> Judged:
        if hours is not None:
            # The threshold is no part of what is kept: whoever asks for another one is answered from memory.
            pairs = await self._pairs.value((known.number, hours), lambda: self._read_pairs(hours))
            if pairs.known or not until_now:
                waiting = await self._waiting.of(known, hours)
                known_of_them = notes(known, hours, self._now(), until_now=until_now)
                return Judged(pairs.below(threshold), "rollups", hours.start, hours.end, waiting, known_of_them)
        if not until_now:
            return Judged(Pairs([], 0), "none", notes=["No hour of this range is closed and rolled up."])
        return await self._judge_raw(threshold)

    async def _judge_raw(self, threshold: float) -> Judged:
        raw = await self._raw.value()
        if raw is None:
            note = f"No closed hour has readings, and more than {RAW_VEHICLES_MAX} vehicles are too many to judge else."
            return Judged(Pairs([], 0), "none", notes=[note])
        window, pairs = raw
        note = "No closed hour of this range has readings of pairs: judged are those of the latest minutes."
        return Judged(pairs.below(threshold), "raw", window.start, window.end, notes=[note])

    async def _read_pairs(self, hours: Hours) -> JudgedPairs:
        rows = await self._reader.rows(
            "alerts_pairs",
            *hours.parts,
            Decimal(str(THRESHOLD_MAX)),
            Decimal(str(self._config.analytics.alert_coverage_min)),
            LIMIT_MAX,
        )
        worst = [
            _pair(row["vehicle_id"], row["meter_id"], _sums(row), row["efficiency_pct"])
            for row in rows
            if row["vehicle_id"] is not None
        ]
        return JudgedPairs(worst, rows[0]["efficiencies"], rows[0]["counts"], rows[0]["known"])

    async def _read_raw(self) -> tuple[Window, JudgedPairs] | None:
        now = self._now()
        settings = self._config.analytics
        window = Window(now - RAW_WINDOW, now, timedelta(seconds=settings.correlation_window_s))
        active = await self._reader.rows("fleet_active_vehicles", window.start, RAW_VEHICLES_MAX + 1)
        if len(active) > RAW_VEHICLES_MAX:
            return None
        found = await segments(self._reader, [row["vehicle_id"] for row in active], window, settings)
        meters = {segment.vehicle_id: segment.meter_id for segment in found if segment.meter_id is not None}
        sums = await energy_of_each(self._reader, found, window, self._config)
        judged = [
            _pair(vehicle_id, meters[vehicle_id], energy, efficiency)
            for vehicle_id, energy in sums
            if (efficiency := energy.efficiency_pct) is not None
            and (energy.coverage.share or 0) >= settings.alert_coverage_min
        ]
        return window, JudgedPairs.of(judged, LIMIT_MAX)

    async def _read_silence(self) -> Silence:
        now = self._now()
        found, total = [], 0
        for kind in KINDS:
            rows = await self._reader.rows(
                "alerts_silent",
                now,
                self._config.analytics.silent_cadences,
                self._config.device.cadence_s,
                SILENCE_LEAST_S,
                LIMIT_MAX,
                kind=kind,
            )
            found += [_silent(kind, row, now) for row in rows]
            total += rows[0]["found"] if rows else 0
        found.sort(key=lambda device: (device.last_reading, device.device_id))
        return Silence(found[:LIMIT_MAX], total, now)


def _sums(row: Record) -> Energy:
    return Energy(
        meter_readings=row["meter_readings"],
        vehicle_readings=row["vehicle_readings"],
        correlated=row["correlated"],
        ac_kwh=row["ac_kwh"],
        dc_kwh=row["dc_kwh"],
    )


def _pair(vehicle_id: str, meter_id: str, sums: Energy, efficiency_pct: Decimal) -> AlertPair:
    return AlertPair(
        vehicle_id=vehicle_id,
        meter_id=meter_id,
        efficiency_ratio=float(efficiency_pct),
        total_energy_consumed_ac=hundredths(sums.ac_kwh),
        total_energy_delivered_dc=hundredths(sums.dc_kwh),
        lost=hundredths(sums.ac_kwh - sums.dc_kwh),
        correlated=sums.correlated,
        share=sums.coverage.share or 0.0,
    )


def _silent(kind: Kind, row: Record, now: datetime) -> SilentDevice:
    return SilentDevice(
        kind=kind.name,
        device_id=row["device_id"],
        last_reading=rfc3339(row["last_reading"]),
        cadence=float(row["cadence_s"]),
        silent_for=round((now - row["last_reading"]).total_seconds(), 3),
    )


def _answer(period: str, threshold: float, limit: int, judged: Judged, silence: Silence) -> Alerts:
    return Alerts(
        period=period,
        from_=rfc3339(judged.start) if judged.start is not None else None,
        to=rfc3339(judged.end) if judged.end is not None else None,
        source=judged.source,
        threshold=threshold,
        total_pairs=judged.pairs.found,
        pairs=list(judged.pairs.worst[:limit]),
        total_silent=silence.found,
        silent=silence.longest[:limit],
        pending=judged.pending,
        notes=judged.notes,
        computed_at=rfc3339(silence.at),
    )


def _table(answer: Alerts, shown: str) -> Table:
    rows: list[dict[str, Any]] = msgspec.to_builtins(getattr(answer, shown))
    shape = AlertPair if shown == "pairs" else SilentDevice
    return Table(f"alerts_{shown}", [field.encode_name for field in msgspec.structs.fields(shape)], rows)
