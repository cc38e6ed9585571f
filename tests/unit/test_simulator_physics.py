"""The rules that energy, state of charge and temperature keep, whatever the numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator import physics

BANDS = st.sampled_from([physics.HEALTHY_PERCENT, physics.FAULTY_PERCENT])


@given(st.integers(physics.HELD_BACK_UNITS, 10**9), st.floats(0.0, 1.5), BANDS)
def test_delivered_energy_stays_inside_the_chargers_bounds(
    ac: int, efficiency: float, percent: tuple[int, int]
) -> None:
    dc = physics.delivered_units(ac, efficiency, percent)
    assert percent[0] * ac <= 100 * dc <= percent[1] * ac


def test_nothing_is_delivered_of_nothing() -> None:
    assert physics.delivered_units(0, 0.9, physics.HEALTHY_PERCENT) == 0


def test_delivered_energy_follows_the_efficiency_inside_the_bounds() -> None:
    assert physics.delivered_units(1000, 0.90, physics.HEALTHY_PERCENT) == 900
    assert physics.delivered_units(1000, 0.70, physics.FAULTY_PERCENT) == 700


@given(st.floats(0, 1e6))
def test_a_meter_shows_whole_units_and_never_more_than_it_holds(register: float) -> None:
    shown = physics.metered_units(register)
    assert 0 <= shown <= register
    assert shown == 0 or shown >= physics.HELD_BACK_UNITS
    assert register - shown < max(1, physics.HELD_BACK_UNITS)


@given(st.sampled_from((3.7, 7.4, 11.0, 22.0)), st.floats(0, 100), st.floats(0, 100))
def test_power_never_exceeds_the_rating_and_falls_with_the_charge(rated: float, a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert rated >= physics.charge_power_kw(rated, low) >= physics.charge_power_kw(rated, high) > 0


def test_power_at_the_ends_of_the_taper() -> None:
    assert physics.charge_power_kw(11.0, 80.0) == 11.0
    assert physics.charge_power_kw(11.0, 90.0) == pytest.approx(11.0 * 0.55)
    assert physics.charge_power_kw(11.0, 100.0) == pytest.approx(1.1)


def test_voltage_drops_under_load() -> None:
    assert physics.supply_volts(230.0, 16.0, 0.0) == pytest.approx(226.8)
    assert physics.phase_amps(7.36, 7.4) == pytest.approx(32.0)
    assert physics.phase_amps(11.04, 11.0) == pytest.approx(16.0)


@given(st.floats(-20, 80), st.floats(0, 30), st.floats(0, 1), st.floats(0, 1e6))
def test_battery_temperature_moves_towards_where_it_settles_and_not_beyond(
    now: float, ambient: float, c_rate: float, elapsed_s: float
) -> None:
    settled = ambient + physics.DEGREES_PER_C_RATE * c_rate
    later = physics.battery_celsius(now, ambient, c_rate, elapsed_s)
    assert min(now, settled) - 1e-9 <= later <= max(now, settled) + 1e-9


def test_the_day_is_coolest_at_three_and_warmest_at_fifteen() -> None:
    hour = 3_600_000
    by_hour = [physics.ambient_celsius(h * hour, 0.0) for h in range(24)]
    assert by_hour.index(min(by_hour)) == 3
    assert by_hour.index(max(by_hour)) == 15
