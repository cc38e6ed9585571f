"""Which meter feeds a vehicle, and the energy of their correlated readings.

Both rules stand in SQL (performance_segments, performance_correlate), where the readings are; this is how to call them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from hseie.analytics.reader import Reader
from hseie.answers import Coverage
from hseie.config import Analytics
from hseie.database import Record
from hseie.readings import is_device_id

_HUNDREDTH = Decimal("0.01")
_TEN_THOUSANDTH = Decimal("0.0001")


@dataclass(frozen=True)
class Window:
    """A half-open range of time, and what has to be read to correlate exactly what lies in it."""

    start: datetime
    end: datetime
    tolerance: timedelta

    # Whether a reading is taken depends on its neighbour (one tolerance away) and on that one's neighbours.
    @property
    def read_start(self) -> datetime:
        return self.start - 2 * self.tolerance

    @property
    def read_end(self) -> datetime:
        return self.end + 2 * self.tolerance


@dataclass(frozen=True)
class Energy:
    """Sums over one vehicle or many; exact, in kWh. `efficiency_pct` and `battery_temp_avg` have two decimals."""

    meter_readings: int = 0
    vehicle_readings: int = 0
    correlated: int = 0
    ac_kwh: Decimal = Decimal(0)
    dc_kwh: Decimal = Decimal(0)
    uncorrelated_ac_kwh: Decimal = Decimal(0)
    uncorrelated_dc_kwh: Decimal = Decimal(0)
    efficiency_pct: Decimal | None = None
    battery_temp_avg: Decimal | None = None

    @classmethod
    def of(cls, row: Record) -> "Energy":
        """Return a row of performance_correlate."""
        return cls(**{name: row[name] for name in cls.__dataclass_fields__})

    @property
    def coverage(self) -> Coverage:
        most = max(self.meter_readings, self.vehicle_readings)
        return Coverage(
            meter_readings=self.meter_readings,
            vehicle_readings=self.vehicle_readings,
            correlated=self.correlated,
            uncorrelated_ac=hundredths(self.uncorrelated_ac_kwh),
            uncorrelated_dc=hundredths(self.uncorrelated_dc_kwh),
            share=float((Decimal(self.correlated) / most).quantize(_TEN_THOUSANDTH)) if most else None,
        )


@dataclass(frozen=True)
class Segment:
    """For a stretch of time, the meter that feeds a vehicle; None where none is known."""

    vehicle_id: str
    meter_id: str | None
    starts: datetime
    ends: datetime


def hundredths(value: Decimal) -> float:
    """Return a sum with two decimals, halves away from zero as PostgreSQL rounds them."""
    return float(value.quantize(_HUNDREDTH, ROUND_HALF_UP))


def candidates(vehicle_id: str, vehicle_prefix: str, meter_prefix: str) -> list[str]:
    """Return the meters that may feed a vehicle judging by its id, the preferred first.

    The same id; then those whose rest is the same once the prefixes are taken off: with the prefix, and bare.
    """
    rest = vehicle_id.removeprefix(vehicle_prefix)
    found = dict.fromkeys((vehicle_id, meter_prefix + rest, rest))
    return [
        meter_id
        for meter_id in found
        # A bare rest that begins with the meters' prefix has another rest itself.
        if is_device_id(meter_id) and (meter_id == vehicle_id or meter_id.removeprefix(meter_prefix) == rest)
    ]


async def segments(reader: Reader, vehicles: Sequence[str], window: Window, config: Analytics) -> list[Segment]:
    """Return which meter fed each vehicle when, over all that is read for `window`, without gaps.

    Raises DatabaseUnavailableError.
    """
    pairs = [
        (vehicle, meter)
        for vehicle in vehicles
        for meter in candidates(vehicle, config.vehicle_prefix, config.meter_prefix)
    ]
    rows = await reader.rows(
        "performance_segments",
        [vehicle for vehicle, _ in pairs],
        [meter for _, meter in pairs],
        window.read_start,
        window.read_end,
    )
    return [Segment(**row) for row in rows]


async def energy(reader: Reader, found: Sequence[Segment], window: Window) -> Energy:
    """Return the sums over all segments together. Raises DatabaseUnavailableError."""
    row = await reader.row(
        "performance_correlate",
        [segment.vehicle_id for segment in found],
        [segment.meter_id for segment in found],
        [segment.starts for segment in found],
        [segment.ends for segment in found],
        window.read_start,
        window.read_end,
        window.start,
        window.end,
        window.tolerance,
        window.end - window.start,
        False,
    )
    return Energy.of(row) if row is not None else Energy()


async def energy_of_each(reader: Reader, found: Sequence[Segment], window: Window) -> Sequence[Record]:
    """Return the sums of each vehicle that has any, with `vehicle_id`. Raises DatabaseUnavailableError."""
    return await reader.rows(
        "performance_correlate",
        [segment.vehicle_id for segment in found],
        [segment.meter_id for segment in found],
        [segment.starts for segment in found],
        [segment.ends for segment in found],
        window.read_start,
        window.read_end,
        window.start,
        window.end,
        window.tolerance,
        window.end - window.start,
        True,
    )
