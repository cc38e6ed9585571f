"""Correlated readings and pairs as PostgreSQL finds them, against the rule written out in Python."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hseie.analytics.correlation import Energy, energy, segments
from hseie.analytics.reader import Reader
from hseie.config import Analytics, Config
from hseie.database import connect
from hseie.pairing import Window, meeting_arguments, pieces
from hseie.resources import sql

MIDNIGHT = datetime(2026, 2, 9, tzinfo=UTC)
TOLERANCE = timedelta(seconds=30)
VEHICLE, METER, OTHER_METER = "VEHICLE_1", "METER_1", "METER_2"

Row = tuple[datetime, Decimal]  # in order of id: of equal times the last one counts
Pairing = tuple[str, str, datetime, datetime | None]  # a row of device_pair


@dataclass
class Fleet:
    """The rows of one vehicle, of the meters, and of device_pair."""

    vehicle: list[Row] = field(default_factory=list)
    meters: dict[str, list[Row]] = field(default_factory=dict)
    pairings: list[Pairing] = field(default_factory=list)


def meter_at(fleet: Fleet, moment: datetime) -> str | None:
    """Which meter feeds the vehicle, from the sentences of the design."""

    def covers(pairing: Pairing) -> bool:
        return pairing[2] <= moment and (pairing[3] is None or moment < pairing[3])

    own = [pairing for pairing in fleet.pairings if pairing[0] == VEHICLE and covers(pairing)]
    if own:
        return max(own, key=lambda pairing: pairing[2])[1]
    taken = any(pairing[0] != VEHICLE and pairing[1] == METER and covers(pairing) for pairing in fleet.pairings)
    return None if taken or METER not in fleet.meters else METER


def stretches(fleet: Fleet, start: datetime, end: datetime) -> list[tuple[str | None, datetime, datetime]]:
    edges = {start, end} | {edge for pairing in fleet.pairings for edge in pairing[2:] if edge and start < edge < end}
    found: list[tuple[str | None, datetime, datetime]] = []
    for first, last in pairwise(sorted(edges)):
        meter = meter_at(fleet, first)
        if found and found[-1][0] == meter:
            found[-1] = (meter, found[-1][1], last)
        else:
            found.append((meter, first, last))
    return found


def nearest(moment: datetime, others: dict[datetime, Decimal]) -> datetime | None:
    near = [other for other in others if abs(other - moment) <= TOLERANCE]
    return min(near, key=lambda other: (abs(other - moment), other), default=None)


def by_hand(fleet: Fleet, start: datetime, end: datetime) -> Energy:
    """The sums of [start, end), from all rows there are."""
    counts = {"meter_readings": 0, "vehicle_readings": 0, "correlated": 0}
    sums = {name: Decimal(0) for name in ("ac_kwh", "dc_kwh", "uncorrelated_ac_kwh", "uncorrelated_dc_kwh")}
    for meter, first, last in stretches(fleet, MIDNIGHT - timedelta(days=2), MIDNIGHT + timedelta(days=2)):
        dc = {at: kwh for at, kwh in fleet.vehicle if first <= at < last}
        ac = {at: kwh for at, kwh in fleet.meters.get(meter or "", []) if first <= at < last}
        pairs = {at: other for at in dc if (other := nearest(at, ac)) is not None and nearest(other, dc) == at}
        for at, kwh in dc.items():
            if start <= at < end:
                counts["vehicle_readings"] += 1
                if at in pairs:
                    counts["correlated"] += 1
                    sums["dc_kwh"] += kwh
                    sums["ac_kwh"] += ac[pairs[at]]
                else:
                    sums["uncorrelated_dc_kwh"] += kwh
        for at, kwh in ac.items():
            if start <= at < end:
                counts["meter_readings"] += 1
                if at not in pairs.values():
                    sums["uncorrelated_ac_kwh"] += kwh
    return Energy(**counts, **sums)  # type: ignore[arg-type]


def plain(sums: Energy) -> Energy:
    """Without what is derived from the sums."""
    return replace(sums, battery_temp_sum=Decimal(0))


class Bench:
    """A database, and a loop to talk to it from tests that are no coroutines."""

    def __init__(self, url: str) -> None:
        self.runner = asyncio.Runner()
        self.runner.run(self._open(url))

    async def _open(self, url: str) -> None:
        self.connection = await connect(url, "tests", 10)
        self.reader = await Reader.open(Config(), url, "tests", 1)
        for kind in ("meter", "vehicle"):
            for day in range(-2, 3):
                await self.connection.execute(
                    "SELECT hseie_make_partition($1, $2)", kind, MIDNIGHT.date() + timedelta(days=day)
                )

    def close(self) -> None:
        self.runner.run(self.connection.close())
        self.runner.run(self.reader.close(1.0))
        self.runner.close()

    def fill(self, fleet: Fleet) -> None:
        self.runner.run(self._fill(fleet))

    async def _fill(self, fleet: Fleet) -> None:
        run = self.connection
        async with run.transaction():
            for table in ("meter_history", "vehicle_history", "meter_current", "device_pair"):
                await run.execute(f"DELETE FROM {table}")
            await run.executemany(
                'INSERT INTO vehicle_history ("timestamp", kwh_delivered_dc, vehicle_id, soc, battery_temp)'
                " VALUES ($1, $2, $3, 50, 25)",
                [(*row, VEHICLE) for row in fleet.vehicle],
            )
            for meter, rows in fleet.meters.items():
                await run.executemany(
                    'INSERT INTO meter_history ("timestamp", kwh_consumed_ac, meter_id, voltage)'
                    " VALUES ($1, $2, $3, 230)",
                    [(*row, meter) for row in rows],
                )
                await run.execute("INSERT INTO meter_current VALUES ($1, now(), 1, 230)", meter)
            await run.executemany("INSERT INTO device_pair VALUES ($1, $2, $3, $4)", fleet.pairings)

    def sums(self, start: datetime, end: datetime) -> Energy:
        return self.runner.run(self._sums(Window(start, end, TOLERANCE)))

    async def _sums(self, window: Window) -> Energy:
        return await energy(self.reader, await segments(self.reader, [VEHICLE], window, Analytics()), window, Config())


@pytest.fixture
def bench(database_url: str) -> Iterator[Bench]:
    bench = Bench(database_url)
    yield bench
    bench.close()


def _at(seconds: float) -> datetime:
    return MIDNIGHT + timedelta(seconds=seconds)


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    """One device's rows around midnight: a cadence, a phase, jitter, gaps, re-sends and corrections."""
    cadence = draw(st.sampled_from([1, 7, 60]))
    phase = draw(st.sampled_from([0.0, 0.0005, 0.5, 13.0, 30.0, 45.0]))
    start = draw(st.sampled_from([-600, -60, -10, 0, 3600 - 100]))
    found: list[Row] = []
    for number in range(draw(st.integers(0, 25))):
        if draw(st.integers(0, 9)) == 0:
            continue
        jitter = draw(st.sampled_from([0.0, 0.0, 0.0, 0.25, -0.25, 15.0, -15.0, 29.9995, 30.0, 31.0]))
        kwh = Decimal(draw(st.integers(0, 99_999))) / 10_000
        found.append((_at(start + number * cadence + phase + jitter), kwh))
    corrections = draw(st.lists(st.sampled_from(found), max_size=4)) if found else []
    return found + [(at, kwh + draw(st.sampled_from([0, 1]))) for at, kwh in corrections]


@st.composite
def pairings(draw: st.DrawFn) -> list[Pairing]:
    found: dict[tuple[str, datetime], Pairing] = {}
    for _ in range(draw(st.integers(0, 3))):
        vehicle = draw(st.sampled_from([VEHICLE, VEHICLE, "VEHICLE_2"]))
        start = _at(draw(st.sampled_from([-100_000, -500, -60, 0, 15, 300, 3550])))
        length = draw(st.sampled_from([None, 30, 60, 500, 4000]))
        end = start + timedelta(seconds=length) if length is not None else None
        found[vehicle, start] = (vehicle, draw(st.sampled_from([METER, OTHER_METER])), start, end)
    return list(found.values())


fleets = st.builds(
    Fleet,
    vehicle=rows(),
    meters=st.one_of(
        st.fixed_dictionaries({METER: rows()}), st.fixed_dictionaries({METER: rows(), OTHER_METER: rows()})
    ),
    pairings=pairings(),
)
moments = st.sampled_from([-3600.0, -90.0, -30.0, -0.5, 0.0, 0.0005, 10.0, 59.0, 60.0, 600.0, 3600.0, 7200.0]).map(_at)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fleet=fleets, edges=st.lists(moments, min_size=3, max_size=3, unique=True).map(sorted))
def test_sums_are_those_of_the_rule_and_windows_add_up(bench: Bench, fleet: Fleet, edges: list[datetime]) -> None:
    first, middle, last = edges
    bench.fill(fleet)
    left, right, whole = bench.sums(first, middle), bench.sums(middle, last), bench.sums(first, last)
    assert plain(whole) == by_hand(fleet, first, last)
    assert plain(left) == by_hand(fleet, first, middle)
    for name in ("correlated", "meter_readings", "vehicle_readings", "ac_kwh", "dc_kwh", "uncorrelated_ac_kwh"):
        assert getattr(left, name) + getattr(right, name) == getattr(whole, name), name


def _kwh(*seconds_and_kwh: tuple[float, str]) -> list[Row]:
    return [(_at(seconds), Decimal(kwh)) for seconds, kwh in seconds_and_kwh]


def test_the_golden_case(bench: Bench) -> None:
    bench.fill(
        Fleet(
            _kwh((0, "9.5"), (1800, "9.5"), (3600, "9.5")),
            {METER: _kwh((0, "10.5"), (1800, "11.2"), (3600, "10.5"))},
        )
    )
    sums = bench.sums(_at(0), _at(3601))
    assert (sums.ac_kwh, sums.dc_kwh, sums.efficiency_pct) == (Decimal("32.2"), Decimal("28.5"), Decimal("88.51"))


def test_a_day_at_one_second_is_not_inflated(bench: Bench) -> None:
    # The first HSEIE summed every meter reading within 30 s of every vehicle reading: sixty times the energy.
    seconds = range(-300, 300)
    bench.fill(
        Fleet(
            _kwh(*((second, "0.9") for second in seconds)), {METER: _kwh(*((second + 0.4, "1") for second in seconds))}
        )
    )
    sums = bench.sums(_at(-300), _at(300))
    assert (sums.correlated, sums.ac_kwh, sums.dc_kwh) == (600, Decimal(600), Decimal(540))
    assert sums.efficiency_pct == Decimal("90.00")


def test_equal_distances_go_to_the_earlier(bench: Bench) -> None:
    bench.fill(Fleet(_kwh((30, "1")), {METER: _kwh((0, "2"), (60, "5"))}))
    assert bench.sums(_at(0), _at(100)).ac_kwh == Decimal(2)
    bench.fill(Fleet(_kwh((0, "2"), (60, "5")), {METER: _kwh((30, "1"))}))
    sums = bench.sums(_at(0), _at(100))
    assert (sums.dc_kwh, sums.uncorrelated_dc_kwh) == (Decimal(2), Decimal(5))


def test_one_microsecond_beyond_the_tolerance_is_no_pair(bench: Bench) -> None:
    bench.fill(Fleet(_kwh((0, "1")), {METER: _kwh((30, "1"))}))
    assert bench.sums(_at(-1), _at(1)).correlated == 1
    bench.fill(Fleet(_kwh((0, "1")), {METER: _kwh((30.000001, "1"))}))
    assert bench.sums(_at(-1), _at(1)).correlated == 0


def test_a_new_pairing_never_rewrites_the_past(bench: Bench) -> None:
    fleet = Fleet(_kwh((0, "1"), (600, "1")), {METER: _kwh((0, "2"), (600, "2")), OTHER_METER: _kwh((600, "7"))})
    bench.fill(fleet)
    before = bench.sums(_at(0), _at(300))
    fleet.pairings.append((VEHICLE, OTHER_METER, _at(300), None))
    bench.fill(fleet)
    assert bench.sums(_at(0), _at(300)) == before
    assert bench.sums(_at(300), _at(900)).ac_kwh == Decimal(7)


@pytest.mark.parametrize("direction", [1, -1])
def test_the_neighbours_neighbour_outside_of_the_window_decides(bench: Bench, direction: int) -> None:
    # The meter's reading 28 s outside prefers a vehicle reading 42 s outside to the one just inside.
    bench.fill(
        Fleet(
            sorted(_kwh((-1 * direction, "1"), (42 * direction, "1"))),
            {METER: _kwh((28 * direction, "1"))},
        )
    )
    start, end = (_at(-100), _at(0)) if direction == 1 else (_at(0), _at(100))
    sums = bench.sums(start, end)
    assert (sums.vehicle_readings, sums.correlated) == (1, 0)
    assert bench.sums(_at(-200), _at(200)).correlated == 1


def test_hours_and_vehicles_add_up_to_the_whole(bench: Bench) -> None:
    # The form in which rollups will ask: a row of each vehicle and hour.
    minutes = range(-150, 150)
    bench.fill(
        Fleet(
            _kwh(*((60 * minute + 7, "0.9") for minute in minutes)),
            {METER: _kwh(*((60 * minute, "1") for minute in minutes))},
        )
    )
    window = Window(_at(-7200), _at(7200), TOLERANCE)
    found = bench.runner.run(segments(bench.reader, [VEHICLE, "VEHICLE_NONE"], window, Analytics()))
    rows = bench.runner.run(
        bench.connection.fetch(
            sql("parts", "pair_hours"), *meeting_arguments(pieces(found, window), TOLERANCE, Config().device)
        )
    )
    rows.sort(key=lambda row: row["bucket"])
    assert [(row["vehicle_id"], row["bucket"], row["correlated"]) for row in rows] == [
        (VEHICLE, _at(3600 * hour), 60) for hour in range(-2, 2)
    ]
    assert sum(row["ac_kwh"] for row in rows) == bench.sums(window.start, window.end).ac_kwh == 240
