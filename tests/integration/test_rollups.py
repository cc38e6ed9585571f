"""Rollups say what the rows say, whatever the order in which readings, pairs, closings and late readings come."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.rollup_oracle import HOUR
from tests.integration.rollup_world import World, configured

NOON = datetime(2026, 2, 9, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 2, 10, tzinfo=UTC)
METERS = ("METER_1", "VEHICLE_1", "METER_2", "METER_R1")
VEHICLES = ("VEHICLE_1", "VEHICLE_2", "VEHICLE_R1")


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def world(database_url: str, tmp_path: Path, runner: asyncio.Runner) -> Iterator[World]:
    world = runner.run(World(configured(tmp_path), database_url).open())
    runner.run(world.reset(NOON))
    yield world
    runner.run(world.close())


# Around the hours of a night: readings that are neighbours across a boundary are what is easy to get wrong.
offsets = st.sampled_from([-61, -60, -31, -30, -29, -16, -15, -1, 0, 1, 15, 29, 30, 31, 45, 60, 61, 600, 1800])
moments = st.builds(
    lambda hours, seconds: MIDNIGHT + timedelta(hours=hours, seconds=seconds), st.integers(-3, 3), offsets
)
# Few values, so that corrections and equal neighbours come up; those of registers pass through every event.
energies = st.sampled_from(["0", "0.5", "1.25", "3", "9999", "9998.5", "5000", "700"]).map(Decimal)
readings = st.one_of(
    st.tuples(
        st.just("meter"),
        st.sampled_from(METERS),
        moments,
        st.tuples(energies, st.sampled_from([Decimal(229), Decimal("231.5")])),
    ),
    st.tuples(
        st.just("vehicle"),
        st.sampled_from(VEHICLES),
        moments,
        st.tuples(
            st.sampled_from([Decimal(10), Decimal("90.5")]), energies, st.sampled_from([Decimal(-5), Decimal(31)])
        ),
    ),
)
pairings = st.tuples(
    st.sampled_from(VEHICLES),
    st.sampled_from(METERS),
    moments,
    st.integers(1, 7200).map(lambda s: timedelta(seconds=s)),
)
steps = st.lists(
    st.one_of(
        st.lists(readings, min_size=1, max_size=12).map(lambda rows: ("store", rows)),
        pairings.map(lambda pairing: ("pair", pairing)),
        st.integers(-4, 4).map(lambda hours: ("round", MIDNIGHT + timedelta(hours=hours, minutes=3))),
        st.just(("restart", None)),
    ),
    min_size=2,
    max_size=14,
)


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(steps=steps)
def test_whatever_the_order_rollups_say_what_the_rows_say(world: World, runner: asyncio.Runner, steps: Any) -> None:
    async def play() -> None:
        await world.reset(MIDNIGHT - 5 * HOUR)
        paired = set()
        for name, what in steps:
            if name == "store":
                await world.store(*what)
            elif name == "pair":
                vehicle, meter, start, length = what
                if (vehicle, start) not in paired:
                    paired.add((vehicle, start))
                    await world.pair(vehicle, meter, start, start + length)
            elif name == "restart":
                world.restart()
            else:
                await world.round(what)
        await world.round(MIDNIGHT + timedelta(days=1, hours=2))
        await world.prove()

    runner.run(play())
