"""`GET /v1/analytics/performance/{vehicleId}`: energy and efficiency of a vehicle and the meter that feeds it.

A key that is bound to the vehicle sees that meter's energy too, also where it is not bound to the meter: a vehicle and
what feeds it belong together, and half of the figure would be none.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from aiohttp import web

from hseie import web as http
from hseie.analytics.correlation import hundredths
from hseie.analytics.query import Query
from hseie.analytics.representation import Table, as_csv, as_json, asks_for_csv
from hseie.analytics.sums import Sums, VehicleSums
from hseie.answers import MeterSegment, Performance, rfc3339
from hseie.config import Config
from hseie.pairing import Segment, Window
from hseie.readings import is_device_id

DEFAULT_WINDOW = "24h"
PARAMETERS = ("window", "from", "to", "format")


class PerformanceRoute:
    """Answers for one vehicle. `now` is the clock."""

    def __init__(self, sums: VehicleSums, config: Config, now: Callable[[], datetime]) -> None:
        self._sums = sums
        self._config = config
        self._now = now

    async def performance(self, request: web.Request) -> web.Response:
        vehicle_id = request.match_info["vehicleId"]
        query = Query(request.query, PARAMETERS)
        as_table = asks_for_csv(query, request)
        window, period = window_of(query, self._config, self._now())
        sums = await self._sums.of(vehicle_id, window) if is_device_id(vehicle_id) else None
        if sums is None:
            return http.problem("unknown_device")
        answer = summary(vehicle_id, period, sums, self._config)
        return as_csv(request, table(answer)) if as_table else as_json(request, answer)


def window_of(query: Query, config: Config, now: datetime) -> tuple[Window, str]:
    """Return the window that a request asks for and its name: the last 24 hours unless it says otherwise.

    Raises BadParameterError. Both ends together have to lie within the accepted time of readings, so that nobody asks
    for a thousand years.
    """
    start, end, length = query.moment("from"), query.moment("to"), query.window("window")
    if "window" in query and ("from" in query or "to" in query):
        query.refuse("window", "window goes without from and to")
    if "to" in query and "from" not in query:
        query.refuse("from", "to goes with from only")
    query.check()
    tolerance = timedelta(seconds=config.analytics.correlation_window_s)
    if start is None:
        period = query.text("window") or DEFAULT_WINDOW
        window = Window(now - (length or timedelta(hours=24)), now, tolerance)
    else:
        window = Window(start, end or now, tolerance)
        period = f"{rfc3339(window.start)}/{rfc3339(window.end)}"
    named = "from" if start is not None else "window"
    if window.end <= window.start:
        query.refuse("to" if end is not None else "from", "from must lie before to")
    elif window.end - window.start > timedelta(days=config.ingest.past_max_days):
        query.refuse(named, f"at most {config.ingest.past_max_days} days at a time")
    query.check()
    return window, period


def summary(vehicle_id: str, period: str, found: Sums, config: Config) -> Performance:
    """Return the answer for the sums of a window."""
    window, sums = found.window, found.energy
    inside = [segment for segment in found.segments if segment.starts < window.end and segment.ends > window.start]
    return Performance(
        vehicle_id=vehicle_id,
        period=period,
        total_energy_consumed_ac=hundredths(sums.ac_kwh),
        total_energy_delivered_dc=hundredths(sums.dc_kwh),
        efficiency_ratio=float(sums.efficiency_pct) if sums.efficiency_pct is not None else None,
        avg_battery_temp=float(sums.battery_temp_avg) if sums.battery_temp_avg is not None else None,
        from_=rfc3339(window.start),
        to=rfc3339(window.end),
        meter_id=inside[-1].meter_id if inside else None,
        meters=[
            MeterSegment(
                meter_id=segment.meter_id,
                from_=rfc3339(max(segment.starts, window.start)),
                to=rfc3339(min(segment.ends, window.end)),
            )
            for segment in inside
        ],
        coverage=sums.coverage,
        flags=flags(inside, found, config.analytics.alert_efficiency_pct),
    )


def flags(inside: Sequence[Segment], found: Sums, threshold_pct: float) -> list[str]:
    """Name what a reader of the numbers should know first. What happened to registers is named after their events."""
    sums = found.energy
    marks = {
        "no_meter": all(segment.meter_id is None for segment in inside),
        "no_correlated_readings": sums.correlated == 0,
        # DC without any AC is beyond every percentage, and nothing to divide by.
        "above_100_percent": sums.dc_kwh > sums.ac_kwh,
        "below_threshold": sums.efficiency_pct is not None and sums.efficiency_pct < threshold_pct,
    }
    return [name for name, applies in marks.items() if applies] + [f"register_{event}" for event in found.events]


def table(answer: Performance) -> Table:
    """Return a summary as one row: the coverage beside the sums, flags with blanks between; the meters' segments are
    left out."""
    row: dict[str, Any] = msgspec.to_builtins(answer)
    row |= row.pop("coverage") | {"flags": " ".join(answer.flags)}
    del row["meters"]
    return Table(f"performance_{answer.vehicle_id}", list(row), [row])
