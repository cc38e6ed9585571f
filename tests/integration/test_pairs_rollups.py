"""Rollups of pairs follow what is said of pairings: made anew where a change touches them, and only there."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import structlog

from hseie.config import Config
from hseie.database import connect
from hseie.maintenance.rollups import RollupDuty
from hseie.pair_request import Wanted
from hseie.pairs import end_pair, set_pair
from tests.integration.test_pairs_performance import CONFIG, OTHER, OWN, VEHICLE, at

HOUR = timedelta(hours=1)


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Any]:
    """Four hours of a vehicle and two meters, a reading each every ten minutes; rolled up."""
    connection = await connect(database_url, "tests", 10)
    for kind in ("meter", "vehicle"):
        await connection.execute("SELECT hseie_make_partition($1, $2)", kind, at(0).date())
    moments = [at(600 * number) for number in range(-12, 12)]
    for meter, kwh in ((OWN, 1), (OTHER, 100)):
        await connection.executemany(
            'INSERT INTO meter_history ("timestamp", meter_id, kwh_consumed_ac, voltage) VALUES ($1, $2, $3, 230)',
            [(moment, meter, kwh) for moment in moments],
        )
        await connection.execute("INSERT INTO meter_current VALUES ($1, now(), 1, 230)", meter)
    await connection.executemany(
        'INSERT INTO vehicle_history ("timestamp", vehicle_id, soc, kwh_delivered_dc, battery_temp)'
        " VALUES ($1, $2, 50, 0.5, 25)",
        [(moment, VEHICLE) for moment in moments],
    )
    await connection.execute("INSERT INTO vehicle_current VALUES ($1, now(), 50, 0.5, 25)", VEHICLE)
    await roll(connection)
    yield connection
    await connection.close()


async def roll(connection: Any) -> None:
    duty = RollupDuty(structlog.get_logger(), Config())
    while await duty.work(connection, at(0) + timedelta(days=1)) == 0:
        pass
    assert await connection.fetchval("SELECT count(*) FROM rollup_mark") == 0


async def hours(connection: Any) -> dict[tuple[int, str], Decimal]:
    """The AC energy of the vehicle by hour (0 is that of noon) and meter."""
    rows = await connection.fetch("SELECT bucket, meter_id, ac_kwh FROM pair_hour WHERE vehicle_id = $1", VEHICLE)
    return {((row["bucket"] - at(0)) // HOUR, row["meter_id"]): row["ac_kwh"] for row in rows}


async def day(connection: Any) -> dict[str, Decimal]:
    rows = await connection.fetch("SELECT meter_id, ac_kwh FROM pair_day WHERE vehicle_id = $1", VEHICLE)
    return {row["meter_id"]: row["ac_kwh"] for row in rows}


async def versions(connection: Any, before: datetime) -> set[tuple[Any, ...]]:
    found = await connection.fetch("SELECT xmin::text, pair_hour::text FROM pair_hour WHERE bucket < $1", before)
    return {tuple(row) for row in found}


async def test_a_change_in_the_middle_of_an_hour_that_is_rolled_up(connection: Any) -> None:
    assert await hours(connection) == {(hour, OWN): 6 for hour in (-2, -1, 0, 1)}
    before = await versions(connection, at(-3600))
    await set_pair(connection, CONFIG, Wanted(VEHICLE, OTHER, at(1200)))
    await roll(connection)
    assert await hours(connection) == {(-2, OWN): 6, (-1, OWN): 6, (0, OWN): 2, (0, OTHER): 400, (1, OTHER): 600}
    assert await day(connection) == {OWN: 14, OTHER: 1000}
    assert await versions(connection, at(-3600)) == before  # what lies further back was not even looked at


async def test_a_vehicle_that_nobody_feeds_for_a_while_and_a_pairing_that_is_undone(connection: Any) -> None:
    await set_pair(connection, CONFIG, Wanted(VEHICLE, None, at(0), at(3600)))
    await roll(connection)
    assert await hours(connection) == {(-2, OWN): 6, (-1, OWN): 6, (0, ""): 0, (1, OWN): 6}
    await set_pair(connection, CONFIG, Wanted(VEHICLE, OTHER, at(3600)))
    await roll(connection)
    assert (await hours(connection))[1, OTHER] == 600
    await end_pair(connection, CONFIG, VEHICLE, at(3600))
    await roll(connection)
    assert await hours(connection) == {(-2, OWN): 6, (-1, OWN): 6, (0, ""): 0, (1, OWN): 6}


async def test_a_meter_that_is_given_to_another_vehicle_and_comes_back(connection: Any) -> None:
    await set_pair(connection, CONFIG, Wanted("CAR", OWN, at(-3600)))
    await roll(connection)
    assert await hours(connection) == {(-2, OWN): 6, **{(hour, ""): 0 for hour in (-1, 0, 1)}}
    await end_pair(connection, CONFIG, "CAR", at(3600))
    await roll(connection)
    assert await hours(connection) == {(-2, OWN): 6, (-1, ""): 0, (0, ""): 0, (1, OWN): 6}
