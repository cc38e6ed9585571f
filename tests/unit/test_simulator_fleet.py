"""What a fleet reports over a day: ranges, energy, clocks, repeatability."""

import ast
from collections import defaultdict
from datetime import UTC, datetime
from itertools import islice, pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simulator.fleet as fleet_module
from simulator import physics
from simulator.fleet import Fleet, Pair, Reading, rfc3339
from simulator.schedule import drift_limit_ms, live_ticks

START_MS = 1_770_000_000_000
CADENCES = st.sampled_from([1, 40, 1000, 15_000, 60_000, 900_000, 3_600_000])


def unix_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def day(cadence_ms: int, *, seed: int = 1, faulty: float = 0.0, devices: int = 20, ticks: int = 300) -> list[Reading]:
    fleet = Fleet(1, devices, seed, faulty, cadence_ms)
    return [reading for _, reading in fleet.readings(islice(live_ticks(START_MS, cadence_ms), ticks))]


def test_the_simulator_imports_nothing_of_hseie() -> None:
    folder = Path(fleet_module.__file__).parent
    names = set()
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0
                names.add((node.module or "").partition(".")[0])
    assert "simulator" in names
    assert "hseie" not in names


@settings(max_examples=40)
@given(CADENCES, st.integers(), st.floats(0, 1))
def test_every_value_is_in_its_range_on_the_wire(cadence_ms: int, seed: int, faulty: float) -> None:
    for reading in day(cadence_ms, seed=seed, faulty=faulty, devices=3, ticks=100):
        fields = reading.fields
        if reading.kind == "meter":
            assert list(fields) == ["meterId", "kwhConsumedAc", "voltage", "timestamp"]
            assert 200 <= fields["voltage"] <= 250
            assert 0 <= fields["kwhConsumedAc"] <= 22 * cadence_ms / 3_600_000 + 0.001
        else:
            assert list(fields) == ["vehicleId", "soc", "kwhDeliveredDc", "batteryTemp", "timestamp"]
            assert 0 <= fields["soc"] <= 100
            assert 0 <= fields["kwhDeliveredDc"] <= 0.95 * 22 * cadence_ms / 3_600_000 + 0.001
            assert -20 <= fields["batteryTemp"] <= 80


@settings(max_examples=40)
@given(CADENCES, st.integers(), st.booleans())
def test_each_tick_of_a_pair_keeps_the_efficiency_of_its_charger(cadence_ms: int, seed: int, faulty: bool) -> None:
    pair = Pair(1, Random(seed), float(faulty), 0)
    low, high = (60, 84) if faulty else (85, 95)
    for k in range(500):
        sample = pair.step(START_MS + k * cadence_ms, cadence_ms)
        assert low * sample.ac_units <= 100 * sample.dc_units <= high * sample.ac_units


@settings(max_examples=40)
@given(CADENCES, st.integers())
def test_energy_does_not_exceed_power_times_time(cadence_ms: int, seed: int) -> None:
    pair = Pair(1, Random(seed), 0.0, 0)
    total = 0
    for k in range(1, 500):
        before = pair.soc_percent
        sample = pair.step(START_MS + k * cadence_ms, cadence_ms)
        total += sample.ac_units
        assert total <= pair.rated_kw * k * cadence_ms / 3_600_000 * physics.UNITS_PER_KWH + 1e-6
        if sample.dc_units:
            gained = sample.dc_units / physics.UNITS_PER_KWH / pair.capacity_kwh * 100
            assert sample.soc_percent == pytest.approx(min(100, before + gained))


def test_a_vehicle_charges_and_is_driven_down_again() -> None:
    pair = Pair(1, Random(3), 0.0, 0)
    socs = [pair.step(START_MS + k * 60_000, 60_000).soc_percent for k in range(3 * 1440)]
    rises = sum(b > a for a, b in pairwise(socs))
    falls = sum(b < a for a, b in pairwise(socs))
    assert rises > 60
    assert falls > 60
    assert max(socs) > 74
    assert min(socs) < 51


def test_most_of_the_fleet_has_energy_from_the_first_tick() -> None:
    first = [r for r in day(60_000, devices=200, ticks=1) if r.kind == "vehicle"]
    assert 0.6 < sum(r.fields["kwhDeliveredDc"] > 0 for r in first) / 200 < 0.8


@pytest.mark.parametrize(("share", "fewest", "most"), [(0.0, 0, 0), (1.0, 500, 500), (0.2, 60, 140)])
def test_the_share_of_faulty_chargers(share: float, fewest: int, most: int) -> None:
    assert fewest <= len(Fleet(1, 500, 1, share, 60_000).faulty_ids()) <= most


def test_a_charger_is_faulty_exactly_when_its_sums_say_so() -> None:
    fleet = Fleet(1, 60, 1, 0.3, 60_000)
    ac: defaultdict[str, float] = defaultdict(float)
    dc: defaultdict[str, float] = defaultdict(float)
    for _, reading in fleet.readings(islice(live_ticks(START_MS, 60_000), 600)):
        number = next(iter(reading.fields.values())).partition("_")[2]
        if reading.kind == "meter":
            ac[number] += reading.fields["kwhConsumedAc"]
        else:
            dc[number] += reading.fields["kwhDeliveredDc"]
    low = {f"VEHICLE_{n}" for n in ac if ac[n] and dc[n] / ac[n] < 0.849999}
    assert low == {i for i in fleet.faulty_ids() if ac[i.partition("_")[2]]}
    assert len(low) > 5


def test_same_seed_same_readings_and_another_seed_others() -> None:
    assert day(60_000, seed=7) == day(60_000, seed=7)
    assert day(60_000, seed=7) != day(60_000, seed=8)


def test_a_device_does_not_depend_on_the_size_of_the_fleet_or_on_where_it_begins() -> None:
    def energy(fleet: Fleet) -> list[float]:
        ticks = islice(live_ticks(START_MS, 60_000), 50)
        return [r.fields["kwhConsumedAc"] for _, r in fleet.readings(ticks) if r.fields.get("meterId") == "METER_005"]

    assert energy(Fleet(1, 10, 1, 0.0, 60_000)) == energy(Fleet(5, 3, 1, 0.0, 60_000))


def test_ids_are_padded_to_three_digits_and_start_where_they_should() -> None:
    ids = [next(iter(r.fields.values())) for r in day(60_000, devices=2, ticks=1)]
    assert ids == ["METER_001", "VEHICLE_001", "METER_002", "VEHICLE_002"]
    far = Fleet(12_345, 1, 1, 0.0, 60_000).pairs[0]
    assert (far.meter_id, far.vehicle_id) == ("METER_12345", "VEHICLE_12345")


def test_starting_over_gives_the_same_fleet_again() -> None:
    fleet = Fleet(1, 3, 1, 0.5, 60_000)
    first = list(fleet.readings(islice(live_ticks(START_MS, 60_000), 20)))
    fleet.start_over()
    assert list(fleet.readings(islice(live_ticks(START_MS, 60_000), 20))) == first


@settings(max_examples=30)
@given(st.sampled_from([8, 100, 1000, 15_000, 60_000]), st.integers())
def test_the_readings_of_a_tick_are_each_others_nearest(cadence_ms: int, seed: int) -> None:
    readings = day(cadence_ms, seed=seed, devices=2, ticks=12)
    for number in ("001", "002"):
        meter = [unix_ms(r.fields["timestamp"]) for r in readings if r.fields.get("meterId") == f"METER_{number}"]
        vehicle = [unix_ms(r.fields["timestamp"]) for r in readings if r.fields.get("vehicleId") == f"VEHICLE_{number}"]
        for k in range(12):
            assert min(range(12), key=lambda j: abs(vehicle[j] - meter[k])) == k
            assert min(range(12), key=lambda j: abs(meter[j] - vehicle[k])) == k
            assert abs(meter[k] - vehicle[k]) <= min(10_000, cadence_ms / 4)


def test_clocks_drift_by_up_to_five_seconds_and_keep_their_drift() -> None:
    fleet = Fleet(1, 300, 1, 0.0, 60_000)
    drifts = [p.meter_drift_ms for p in fleet.pairs] + [p.vehicle_drift_ms for p in fleet.pairs]
    assert max(drifts) <= drift_limit_ms(60_000) == 5000
    assert min(drifts) >= -5000
    assert len(set(drifts)) > 500
    times = [unix_ms(r.fields["timestamp"]) for r in day(60_000, devices=1, ticks=5) if r.kind == "meter"]
    assert {b - a for a, b in pairwise(times)} == {60_000}


@pytest.mark.parametrize("devices", [1, 7, 200])
def test_requests_are_due_in_order_and_spread_evenly_over_the_cadence(devices: int) -> None:
    fleet = Fleet(1, devices, 1, 0.0, 60_000)
    due = [at for at, _ in fleet.readings(islice(live_ticks(START_MS, 60_000), 3))]
    assert due == sorted(due)
    meters = due[::2]
    gaps = {b - a for a, b in pairwise(meters)}
    assert max(gaps) - min(gaps) <= 1
    assert max(gaps) <= 60_000 // devices + 1


@given(st.integers(0, 4_000_000_000_000))
def test_times_are_written_with_three_decimals_and_z(at_ms: int) -> None:
    text = rfc3339(at_ms)
    expected = datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    assert text == f"{expected}.{at_ms % 1000:03d}Z"
