"""Pairs of a meter and the vehicle it feeds, and the readings they make, tick by tick."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from random import Random
from time import gmtime
from typing import Any, NamedTuple

from simulator import physics
from simulator.schedule import Tick, drift_limit_ms, phase_ms

CHARGING, PARKED, DRIVING = "charging", "parked", "driving"
STARTS_CHARGING = 0.7
"""Share of the fleet that is charging at the first tick, so that a short run already has energy to look at."""

CHARGER_KW = (3.7, 7.4, 11.0, 22.0)
SESSION_END_KWH = 0.01
"""A session is over when less than this is missing: its meter would hold the rest back."""
LONGEST_SEND_GAP_MS = 1000


class Reading(NamedTuple):
    """One reading as it goes on the wire; ``mark`` says what was done to it on the way, if anything."""

    kind: str
    fields: dict[str, Any]
    mark: str = ""


Due = tuple[int, Reading]
"""A reading and the time (Unix ms) at which its device sends it."""


class Sample(NamedTuple):
    """What one pair measured in one tick: energies in units of 0.1 Wh, the rest in the unit of the wire."""

    ac_units: int
    volts: float
    soc_percent: float
    dc_units: int
    celsius: float


@lru_cache(maxsize=8192)
def _second_text(unix_s: int) -> str:
    at = gmtime(unix_s)
    return f"{at.tm_year:04d}-{at.tm_mon:02d}-{at.tm_mday:02d}T{at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d}."


def rfc3339(unix_ms: int) -> str:
    """A time in Unix milliseconds as RFC 3339 text in UTC, always with three decimals."""
    seconds, millis = divmod(unix_ms, 1000)
    return f"{_second_text(seconds)}{millis:03d}Z"


class Pair:
    """A charger with its meter, and the vehicle that comes home to it.

    ``random`` belongs to this pair alone, so that neither the size of the fleet nor the order of the
    calls for other pairs changes what it does.
    """

    def __init__(self, number: int, random: Random, faulty_share: float, drift_ms: int) -> None:
        self.meter_id = f"METER_{number:03d}"
        self.vehicle_id = f"VEHICLE_{number:03d}"
        self.random = random
        self.phase_ms = 0
        self.meter_drift_ms = random.randint(-drift_ms, drift_ms)
        self.vehicle_drift_ms = random.randint(-drift_ms, drift_ms)
        self.faulty = random.random() < faulty_share
        self.percent = physics.FAULTY_PERCENT if self.faulty else physics.HEALTHY_PERCENT
        low, high = self.percent
        self.efficiency = random.uniform(low + 1, high - 1) / 100
        self.rated_kw = random.choice(CHARGER_KW)
        self.capacity_kwh = random.uniform(40.0, 100.0)
        self.nominal_volts = random.uniform(226.0, 236.0)
        self.site_celsius = random.uniform(-5.0, 5.0)
        self.celsius = random.uniform(15.0, 25.0)
        self.mode = PARKED
        self.target_percent = self.home_at_percent = 0.0
        self.drive_kw = 0.0
        self.wobble_volts = 0.0
        self.register_units = 0.0
        self.parked_until_ms: int | None = None
        if random.random() < STARTS_CHARGING:
            self.soc_percent = random.uniform(10.0, 60.0)
            self._plug_in()
        else:
            self.soc_percent = random.uniform(50.0, 90.0)
            self._park()

    def step(self, at_ms: int, elapsed_ms: int) -> Sample:
        """Live through the ``elapsed_ms`` before ``at_ms`` and measure at its end."""
        hours = elapsed_ms / 3_600_000
        amps = c_rate = 0.0
        ac_units = dc_units = 0
        if self.mode == CHARGING:
            ac_units, dc_units, power_kw = self._charge(hours)
            amps = physics.phase_amps(power_kw, self.rated_kw)
            c_rate = power_kw * self.efficiency / self.capacity_kwh
        elif self.mode == DRIVING:
            self._drive(hours)
            c_rate = self.drive_kw / self.capacity_kwh
        else:
            self._wait(at_ms)
        ambient = physics.ambient_celsius(at_ms, self.site_celsius)
        self.celsius = physics.battery_celsius(self.celsius, ambient, c_rate, elapsed_ms / 1000)
        self.wobble_volts = 0.9 * self.wobble_volts + self.random.random() - 0.5
        volts = physics.supply_volts(self.nominal_volts, amps, self.wobble_volts)
        return Sample(ac_units, volts, self.soc_percent, dc_units, self.celsius)

    def _charge(self, hours: float) -> tuple[int, int, float]:
        power_kw = physics.charge_power_kw(self.rated_kw, self.soc_percent)
        # The converter is a little better or worse from reading to reading (temperature, load).
        efficiency = self.efficiency + 0.01 * (self.random.random() - 0.5)
        wanted_kwh = (self.target_percent - self.soc_percent) / 100 * self.capacity_kwh
        drawn_kwh = min(power_kw * hours, wanted_kwh / efficiency)
        self.register_units += drawn_kwh * physics.UNITS_PER_KWH
        ac_units = physics.metered_units(self.register_units)
        self.register_units -= ac_units
        dc_units = physics.delivered_units(ac_units, efficiency, self.percent)
        gained = dc_units / physics.UNITS_PER_KWH / self.capacity_kwh * 100
        self.soc_percent = min(100.0, self.soc_percent + gained)
        if wanted_kwh - dc_units / physics.UNITS_PER_KWH < SESSION_END_KWH:
            self._park()
        return ac_units, dc_units, power_kw

    def _drive(self, hours: float) -> None:
        used = self.drive_kw * hours / self.capacity_kwh * 100
        self.soc_percent = max(5.0, self.soc_percent - used)
        if self.soc_percent <= self.home_at_percent:
            self._plug_in()

    def _wait(self, at_ms: int) -> None:
        if self.parked_until_ms is None:
            self.parked_until_ms = at_ms + self.random.randint(10, 240) * 60_000
        elif at_ms >= self.parked_until_ms:
            self._set_off()

    def _plug_in(self) -> None:
        self.mode = CHARGING
        self.target_percent = self.random.uniform(75.0, 100.0)

    def _park(self) -> None:
        self.mode = PARKED
        self.parked_until_ms = None

    def _set_off(self) -> None:
        self.mode = DRIVING
        self.drive_kw = self.random.uniform(8.0, 18.0)
        self.home_at_percent = self.random.uniform(15.0, 50.0)


class Fleet:
    """``count`` pairs, numbered from ``first``; the same seed gives the same fleet."""

    def __init__(self, first: int, count: int, seed: int, faulty_share: float, cadence_ms: int) -> None:
        self.first = first
        self.count = count
        self.seed = seed
        self.faulty_share = faulty_share
        self.cadence_ms = cadence_ms
        self.pairs: list[Pair] = []
        self.start_over()

    def start_over(self) -> None:
        """Put every pair back to where it began."""
        limit = drift_limit_ms(self.cadence_ms)
        numbers = range(self.first, self.first + self.count)
        self.pairs = [Pair(n, Random(f"{self.seed}:{n}"), self.faulty_share, limit) for n in numbers]
        for index, pair in enumerate(self.pairs):
            pair.phase_ms = phase_ms(index, self.count, self.cadence_ms)

    def faulty_ids(self) -> list[str]:
        """Vehicles whose charger loses more than it should."""
        return [pair.vehicle_id for pair in self.pairs if pair.faulty]

    def readings(self, ticks: Iterable[Tick]) -> Iterator[Due]:
        """The readings of these ticks in the order of sending: each pair's meter, then its vehicle.

        Both belong to one instant and differ by the drift of their clocks; the vehicle sends half a slot later.
        """
        cadence = self.cadence_ms
        send_gap = min(LONGEST_SEND_GAP_MS, cadence // (2 * self.count))
        for tick in ticks:
            if tick.starts_over:
                self.start_over()
            for pair in self.pairs:
                at = tick.at_ms + pair.phase_ms
                ac, volts, soc, dc, celsius = pair.step(at, cadence)
                meter = {
                    "meterId": pair.meter_id,
                    "kwhConsumedAc": ac / physics.UNITS_PER_KWH,
                    "voltage": int(volts * 100) / 100,
                    "timestamp": rfc3339(at + pair.meter_drift_ms),
                }
                yield at, Reading("meter", meter)
                vehicle = {
                    "vehicleId": pair.vehicle_id,
                    "soc": int(soc * 100) / 100,
                    "kwhDeliveredDc": dc / physics.UNITS_PER_KWH,
                    "batteryTemp": int(celsius * 100) / 100,
                    "timestamp": rfc3339(at + pair.vehicle_drift_ms),
                }
                yield at + send_gap, Reading("vehicle", vehicle)
