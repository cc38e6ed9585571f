"""Hours are closed without keeping those who store readings waiting, and not before their time."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from hseie.database import Failure, PostgresError, classify
from hseie.maintenance import rollup_state
from tests.integration.rollup_oracle import DAY, HOUR, day_of, hour_of
from tests.integration.rollup_steps import NOON, meter, seconds, vehicle
from tests.integration.rollup_world import World, configured


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


def hour_now() -> datetime:
    return hour_of(datetime.now(UTC))


async def test_a_clock_that_is_ahead_closes_nothing_early_and_deletes_nothing(world: World, tmp_path: Path) -> None:
    world.restart(configured(tmp_path, retention__hourly_days=2, ingest__past_max_days=2))
    early = hour_now() - DAY
    await world.store(vehicle(early, 4), meter(early, 5))
    await world.round(early + 3 * HOUR)
    before = await world.rows("pair_hour")
    for _ in range(3):
        world.duty._expiry_due_s = 0.0
        await world.duty.work(world.maintenance, early + timedelta(days=450))
    assert await world.rows("pair_hour") == before != {}
    state = await rollup_state.read(world.maintenance)
    assert state.closed_until <= datetime.now(UTC)
    await world.store(vehicle(hour_now() + HOUR, 4), meter(hour_now() + HOUR, 5))
    assert await world.writer.fetchval("SELECT count(*) FROM rollup_mark") == 0


async def test_nothing_is_deleted_while_nothing_comes(world: World, tmp_path: Path) -> None:
    """As when the clocks of both machines are ahead: they are by months, seen from the readings of this test."""
    world.restart(configured(tmp_path, retention__hourly_days=2, ingest__past_max_days=2))
    await world.store(vehicle(NOON, 4), meter(NOON, 5))
    await world.round(NOON + 3 * HOUR)
    before = await world.rows("pair_hour")
    world.duty._expiry_due_s = 0.0
    await world.round(NOON + timedelta(days=100))
    assert await world.rows("pair_hour") == before != {}


async def test_hours_that_were_closed_too_early_are_opened_again(world: World) -> None:
    # All within a UTC day: the hours that are passed over here end none, as rolling up would have.
    early = day_of(hour_now()) - DAY + 2 * HOUR
    await world.store(vehicle(early, 4), meter(early, 5))
    await world.round(early + 3 * HOUR)
    for column in ("closed_until", "rolled_until"):
        await world.writer.execute(f"UPDATE rollup_state SET {column} = $1", hour_now() + 400 * DAY)
    await world.store(vehicle(early + 5 * HOUR, 4), meter(early + 5 * HOUR, 5))  # marked
    with capture_logs() as logs:
        await world.round(early + 6 * HOUR)
        await world.round()
    assert [log["event"] for log in logs if log["log_level"] == "warning"] == ["hours_reopened"]
    state = await rollup_state.read(world.maintenance)
    assert (state.closed_until, state.rolled_until) == (early + 5 * HOUR, early + 5 * HOUR)
    marks = await world.writer.fetchval("SELECT count(*) FROM rollup_mark")
    await world.store(vehicle(early + 7 * HOUR, 4), meter(early + 7 * HOUR, 5))
    assert await world.writer.fetchval("SELECT count(*) FROM rollup_mark") == marks
    await world.round(early + 10 * HOUR)
    await world.prove()
