"""Rollups of pairs follow what the ids say of devices that become known, however old they are."""

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.integration.rollup_oracle import DAY, HOUR
from tests.integration.rollup_world import configured
from tests.integration.test_performance_sums import Asked, by_hand
from tests.integration.test_rollups import MIDNIGHT, NOON, meter, vehicle


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[Asked]:
    world = await Asked(configured(tmp_path), database_url).open()
    await world.reset(MIDNIGHT - 5 * DAY)
    yield world
    await world.close()


async def check(world: Asked, start: datetime, end: datetime) -> None:
    found = await world.sums("VEHICLE_1", start, end)
    assert found.energy == by_hand(world.facts, "VEHICLE_1", start, end)


async def test_a_preferred_meter_changes_days_whose_hours_are_gone(world: Asked, tmp_path: Path) -> None:
    world.restart(configured(tmp_path, retention__hourly_days=2, ingest__past_max_days=2))
    await world.store(vehicle(NOON, 4), meter(NOON, 5), vehicle(NOON + 5 * DAY, 1), meter(NOON + 5 * DAY, 1))
    await world.round(NOON + 5 * DAY + 3 * HOUR)
    assert not [key for key in await world.rows("pair_hour") if key[1] < MIDNIGHT]
    await check(world, MIDNIGHT - DAY, MIDNIGHT)
    await world.store(meter(NOON + 5 * DAY + 4 * HOUR, 1, "VEHICLE_1"))
    await world.round(NOON + 5 * DAY + 6 * HOUR)
    await check(world, MIDNIGHT - DAY, MIDNIGHT)
    assert [key[2] for key in await world.rows("pair_day") if key[1] < MIDNIGHT] == ["VEHICLE_1"]


async def test_a_new_meter_with_readings_of_a_day_whose_hours_are_gone(world: Asked, tmp_path: Path) -> None:
    world.restart(configured(tmp_path, retention__hourly_days=2, ingest__past_max_days=2))
    await world.store(vehicle(NOON, 4), vehicle(NOON + 5 * DAY, 1))
    await world.round(NOON + 5 * DAY + 3 * HOUR)
    await world.store(meter(NOON, 5))
    await world.round()
    world.duty._expiry_due_s = 0.0
    await world.round()
    await check(world, MIDNIGHT - DAY, MIDNIGHT)
    await world.round(NOON + 5 * DAY + 6 * HOUR)
    await check(world, MIDNIGHT - DAY, MIDNIGHT)


async def test_a_meter_that_was_given_to_a_vehicle_on_days_whose_hours_are_gone(world: Asked, tmp_path: Path) -> None:
    """The vehicle becomes known last: only device_pair says that there is something of that day."""
    world.restart(configured(tmp_path, retention__hourly_days=2, ingest__past_max_days=2))
    await world.store(meter(NOON, 5, "OTHER"), meter(NOON + 5 * DAY, 1, "OTHER"))
    await world.pair("VEHICLE_1", "OTHER", NOON - HOUR, NOON + HOUR)
    await world.round(NOON + 5 * DAY + 3 * HOUR)
    await world.store(vehicle(NOON + 5 * DAY + 4 * HOUR, 1))
    await world.round(NOON + 5 * DAY + 6 * HOUR)
    await check(world, MIDNIGHT - DAY, MIDNIGHT)
    assert ("VEHICLE_1", MIDNIGHT - DAY, "OTHER") in await world.rows("pair_day")
