"""The physics of charging, as plain functions: numbers in, numbers out.

Energy is counted in *units* of 0.1 Wh (0.0001 kWh), the resolution of a reading on the wire, as integers:
sums of readings are then exact, and no rounding can push a healthy charger below 85 %.
"""

import math

UNITS_PER_KWH = 10_000

HELD_BACK_UNITS = 10
"""A meter shows nothing below 1 Wh (1,000 pulses per kWh, the usual S0 output of IEC 62053-31): what is less
stays on its register until the next reading. From 1 Wh on, an integer lies between 85 and 95 % of any amount."""

HEALTHY_PERCENT = (85, 95)
FAULTY_PERCENT = (60, 84)
"""DC/AC of a healthy and of a faulty charger, bounds of every single reading."""

TAPER_FROM_PERCENT = 80.0
TAPER_FLOOR = 0.1
LINE_OHM = 0.2
TEMPERATURE_TIME_CONSTANT_S = 3600.0
DEGREES_PER_C_RATE = 25.0


def charge_power_kw(rated_kw: float, soc_percent: float) -> float:
    """AC power drawn at a state of charge: constant up to 80 %, then falling linearly to a tenth at 100 %.

    The constant-current/constant-voltage curve of lithium cells, in its simplest shape.
    """
    if soc_percent <= TAPER_FROM_PERCENT:
        return rated_kw
    left = max(0.0, (100.0 - soc_percent) / (100.0 - TAPER_FROM_PERCENT))
    return rated_kw * (TAPER_FLOOR + (1.0 - TAPER_FLOOR) * left)


def metered_units(register_units: float) -> int:
    """Whole units that a meter reports from its register; 0 while it holds less than 1 Wh."""
    whole = int(register_units)
    return whole if whole >= HELD_BACK_UNITS else 0


def delivered_units(ac_units: int, efficiency: float, percent: tuple[int, int]) -> int:
    """DC energy that reaches the battery from this AC energy: AC times efficiency, inside the charger's bounds.

    The bounds are kept in integers, so that the ratio of any sum of readings keeps them too.
    """
    if ac_units == 0:
        return 0
    least = -(-ac_units * percent[0] // 100)
    most = ac_units * percent[1] // 100
    return max(least, min(most, round(ac_units * efficiency)))


def phase_amps(power_kw: float, rated_kw: float) -> float:
    """Current per phase at 230 V: one phase up to 7.4 kW, three above (IEC 61851 mode 3)."""
    phases = 1 if rated_kw <= 7.4 else 3
    return power_kw * 1000.0 / (230.0 * phases)


def supply_volts(nominal_volts: float, amps: float, wobble_volts: float) -> float:
    """Voltage at the meter: the site's own, less the drop on the line (R times I), plus what the grid does."""
    return nominal_volts - LINE_OHM * amps + wobble_volts


def ambient_celsius(at_ms: int, site_offset: float) -> float:
    """Outside temperature in °C at a time (Unix ms): a sine of one day, coolest at 03:00 and warmest at 15:00 UTC."""
    day = (at_ms % 86_400_000) / 86_400_000
    return 15.0 + site_offset - 8.0 * math.cos(2.0 * math.pi * (day - 0.125))


def battery_celsius(temperature: float, ambient: float, c_rate: float, elapsed_s: float) -> float:
    """Battery temperature after a time: it nears ambient plus 25 °C per C of load, with a time constant of an hour.

    A first-order model (Newton's law of cooling); ``c_rate`` is the power divided by the capacity, in 1/h.
    """
    settled = ambient + DEGREES_PER_C_RATE * c_rate
    return settled + (temperature - settled) * math.exp(-elapsed_s / TEMPERATURE_TIME_CONSTANT_S)
