"""What a change of pairings in the middle of a window does to a vehicle's figures: right at the boundary."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hseie.config import Config
from hseie.database import connect
from hseie.pair_request import Wanted
from hseie.pairs import end_pair, set_pair
from tests.integration.test_pairs_routes import Client, ask, clients

CONFIG = Config()
VEHICLE, OWN, OTHER = "VEHICLE_7", "METER_7", "POINT-1"


def at(seconds: float) -> datetime:
    """A moment of yesterday, around its noon."""
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
    return noon + timedelta(seconds=seconds)


def text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Any]:
    """A vehicle, the meter of its number and another one, all reporting every minute; the other one 5 s later."""
    connection = await connect(database_url, "tests", 10)
    for kind in ("meter", "vehicle"):
        await connection.execute("SELECT hseie_make_partition($1, $2)", kind, at(0).date())
    minutes = range(-10, 10)
    for meter, kwh, lag in ((OWN, 1, 0), (OTHER, 100, 5)):
        await connection.executemany(
            'INSERT INTO meter_history ("timestamp", meter_id, kwh_consumed_ac, voltage) VALUES ($1, $2, $3, 230)',
            [(at(60 * minute + lag), meter, kwh) for minute in minutes],
        )
        await connection.execute("INSERT INTO meter_current VALUES ($1, now(), 1, 230)", meter)
    await connection.executemany(
        'INSERT INTO vehicle_history ("timestamp", vehicle_id, soc, kwh_delivered_dc, battery_temp)'
        " VALUES ($1, $2, 50, 0.5, 25)",
        [(at(60 * minute), VEHICLE) for minute in minutes],
    )
    await connection.execute("INSERT INTO vehicle_current VALUES ($1, now(), 50, 0.5, 25)", VEHICLE)
    yield connection
    await connection.close()


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[Client]:
    async for client in clients(database_url):
        yield client


async def performance(client: Client, start: float = -600, end: float = 600) -> Any:
    path = f"/v1/analytics/performance/{VEHICLE}?from={text(at(start))}&to={text(at(end))}"
    status, body = await ask(client, "GET", path)
    assert status == 200
    return body


async def test_each_side_of_a_change_counts_its_own_meter(connection: Any, client: Client) -> None:
    await set_pair(connection, CONFIG, Wanted(VEHICLE, OTHER, at(0)))
    body = await performance(client)
    assert body["meters"] == [
        {"meterId": OWN, "from": text(at(-600)), "to": text(at(0))},
        {"meterId": OTHER, "from": text(at(0)), "to": text(at(600))},
    ]
    assert (body["totalEnergyConsumedAc"], body["totalEnergyDeliveredDc"]) == (10 * 1 + 10 * 100, 10)
    assert body["coverage"]["correlated"] == body["coverage"]["meterReadings"] == 20
    before, after = await performance(client, -600, 0), await performance(client, 0, 600)
    assert (before["totalEnergyConsumedAc"], after["totalEnergyConsumedAc"]) == (10, 1000)
    assert (before["meterId"], after["meterId"]) == (OWN, OTHER)


@pytest.mark.parametrize(
    ("change", "own", "other", "correlated"),
    [
        # At the very microsecond of a reading it belongs to the new meter; a moment after that, still to the old one.
        (0, 10, 10, 20),
        (0.000001, 11, 10, 20),  # the reading of the other one 5 s later has no vehicle's reading on its side
        (5, 11, 10, 20),
        (5.000001, 11, 9, 20),
    ],
)
async def test_a_reading_is_on_the_side_that_its_time_says(
    connection: Any, client: Client, change: float, own: int, other: int, correlated: int
) -> None:
    await set_pair(connection, CONFIG, Wanted(VEHICLE, OTHER, at(change)))
    body = await performance(client)
    found = body["coverage"]
    assert (found["meterReadings"], found["correlated"]) == (own + other, correlated)
    total = round(body["totalEnergyConsumedAc"] + found["uncorrelatedAc"], 2)
    assert total == own + 100 * other


async def test_a_vehicle_that_nobody_feeds_and_the_meter_of_its_name_comes_back(
    connection: Any, client: Client
) -> None:
    await set_pair(connection, CONFIG, Wanted(VEHICLE, None, at(-120), at(120)))
    body = await performance(client)
    assert [segment["meterId"] for segment in body["meters"]] == [OWN, None, OWN]
    assert (body["totalEnergyConsumedAc"], body["coverage"]["uncorrelatedDc"]) == (16, 2.0)


async def test_a_meter_that_is_given_away_feeds_nobody_by_its_name(connection: Any, client: Client) -> None:
    await set_pair(connection, CONFIG, Wanted("CAR", OWN, at(0)))
    body = await performance(client)
    assert [segment["meterId"] for segment in body["meters"]] == [OWN, None]
    await end_pair(connection, CONFIG, "CAR", at(300))
    body = await performance(client)
    assert [(segment["meterId"], segment["to"]) for segment in body["meters"]] == [
        (OWN, text(at(0))), (None, text(at(300))), (OWN, text(at(600)))
    ]  # fmt: skip


async def test_what_was_before_a_change_is_not_another_one_after_it(connection: Any, client: Client) -> None:
    before = await performance(client, -600, 0)
    for meter in (OTHER, None, OWN):
        await set_pair(connection, CONFIG, Wanted(VEHICLE, meter, at(0)))
        assert await performance(client, -600, 0) == before
