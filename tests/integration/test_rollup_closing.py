"""Hours are closed without keeping those who store readings waiting, and not before their time."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hseie.database import Failure, PostgresError, classify
from hseie.maintenance import rollup_state
from tests.integration.rollup_oracle import HOUR
from tests.integration.rollup_world import World, configured
from tests.integration.test_rollups import NOON, meter, seconds, vehicle


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    world = await World(configured(tmp_path), database_url).open()
    await world.reset(NOON)
    yield world
    await world.close()


async def test_a_closing_that_waits_too_long_is_given_up_and_marks_are_not(world: World) -> None:
    await world.store(meter(NOON, 5), vehicle(NOON, 4))
    await world.round(NOON + 2 * HOUR)
    await world.store(meter(NOON + seconds(60), 6))
    transaction = world.writer.transaction()
    await transaction.start()
    await world.store_open(meter(NOON + 2 * HOUR, 6))
    await world.maintenance.execute("SET lock_timeout = 0")
    with pytest.raises(PostgresError) as caught:
        async with asyncio.timeout(30):
            await world.duty.work(world.maintenance, NOON + 4 * HOUR)
    assert classify(caught.value) is Failure.RETRY
    await transaction.commit()
    assert (await rollup_state.read(world.maintenance)).closed_until == NOON + HOUR
    assert (await world.rows("meter_hour"))[("METER_1", NOON)][0] == 2
    await world.round(NOON + 4 * HOUR)
    await world.prove()
