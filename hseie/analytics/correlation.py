"""Which meter feeds a vehicle, and the energy of their correlated readings.

Both rules stand in SQL (performance_segments, performance_correlate), where the readings are; this is how to call them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from decimal import ROUND_HALF_UP, Decimal

from hseie.analytics.reader import Reader
from hseie.answers import Coverage
from hseie.config import Analytics, Config
from hseie.database import Record
from hseie.pairing import Segment, Window, candidate_pairs, meeting_arguments, pieces

_HUNDREDTH = Decimal("0.01")
_TEN_THOUSANDTH = Decimal("0.0001")


@dataclass(frozen=True)
class Energy:
    """Sums over one vehicle or many; exact, in kWh, and in readings times °C. They add up."""

    meter_readings: int = 0
    vehicle_readings: int = 0
    correlated: int = 0
    ac_kwh: Decimal = Decimal(0)
    dc_kwh: Decimal = Decimal(0)
    uncorrelated_ac_kwh: Decimal = Decimal(0)
    uncorrelated_dc_kwh: Decimal = Decimal(0)
    battery_temp_sum: Decimal = Decimal(0)

    @classmethod
    def of(cls, row: Record) -> "Energy":
        """Return a row of performance_correlate, pair_hour or pair_day."""
        return cls(*[row[name] for name in _SUMS])

    def __add__(self, other: "Energy") -> "Energy":
        return Energy(*[getattr(self, name) + getattr(other, name) for name in _SUMS])

    @property
    def efficiency_pct(self) -> Decimal | None:
        """DC to AC, with two decimals; None where AC is 0."""
        if not self.ac_kwh:
            return None
        return (self.dc_kwh * 100 / self.ac_kwh).quantize(_HUNDREDTH, ROUND_HALF_UP)

    @property
    def battery_temp_avg(self) -> Decimal | None:
        """Over all effective readings of the vehicle, with two decimals; None without any."""
        if not self.vehicle_readings:
            return None
        return (self.battery_temp_sum / self.vehicle_readings).quantize(_HUNDREDTH, ROUND_HALF_UP)

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


_SUMS = tuple(field.name for field in fields(Energy))


def hundredths(value: Decimal) -> float:
    """Return a sum with two decimals, halves away from zero as PostgreSQL rounds them."""
    return float(value.quantize(_HUNDREDTH, ROUND_HALF_UP))


async def segments(reader: Reader, vehicles: Sequence[str], window: Window, config: Analytics) -> list[Segment]:
    """Return which meter fed each vehicle when, over all that is read for `window`, without gaps.

    Raises DatabaseUnavailableError.
    """
    pairs = candidate_pairs(vehicles, config.vehicle_prefix, config.meter_prefix)
    rows = await reader.rows("performance_segments", *pairs, window.read_start, window.read_end)
    return [Segment(**row) for row in rows]


async def energy(reader: Reader, found: Sequence[Segment], window: Window, config: Config) -> Energy:
    """Return the sums over all segments together. Raises DatabaseUnavailableError."""
    counted = pieces(found, window)
    if not counted:
        return Energy()
    row = await reader.row("performance_correlate", *meeting_arguments(counted, window.tolerance, config.device), False)
    return Energy.of(row) if row is not None else Energy()


async def energy_of_each(
    reader: Reader, found: Sequence[Segment], window: Window, config: Config
) -> list[tuple[str, Energy]]:
    """Return the sums of each vehicle that has readings in the window. Raises DatabaseUnavailableError."""
    counted = pieces(found, window)
    if not counted:
        return []
    rows = await reader.rows(
        "performance_correlate", *meeting_arguments(counted, window.tolerance, config.device), True
    )
    return [(row["vehicle_id"], Energy.of(row)) for row in rows]
