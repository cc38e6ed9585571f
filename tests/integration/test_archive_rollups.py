"""Rollups see every reading of days that are leaving history, and keep what they say of days that were given up."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import structlog

from hseie import database
from hseie.archive_export import bounds
from hseie.maintenance.archive import ArchiveDuty
from hseie.maintenance.raw import RawReadings
from hseie.maintenance.rollups import RollupDuty
from hseie.maintenance.service import Maintenance
from hseie.maintenance.stretches import Bucket, Stretch, hour_of
from hseie.readings import METER
from tests.integration.archive_scene import DAY, ArchiveScene, needs_duckdb
from tests.integration.rollup_world import World, configured

MIDNIGHT, NEXT_MIDNIGHT = bounds(DAY)
HOUR, DAY_LONG = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
async def scene(database_url: str, tmp_path: Path) -> ArchiveScene:
    needs_duckdb()
    made = ArchiveScene(database_url, tmp_path)
    await made.begin()
    return made


@pytest.fixture
async def fresh(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    world = await World(configured(tmp_path), database_url).open()
    await world.reset(MIDNIGHT)
    yield world
    await world.close()


def meter(at: datetime, kwh: float) -> Any:
    return "meter", "METER_1", at, (Decimal(str(kwh)), Decimal(230))


def vehicle(at: datetime, kwh: float) -> Any:
    return "vehicle", "VEHICLE_1", at, (Decimal(50), Decimal(str(kwh)), Decimal(20))


async def test_a_day_that_leaves_between_looks_is_found_in_its_file(scene: ArchiveScene) -> None:
    """Twenty readings of a device, one a minute from midnight on."""
    await scene.store(METER)
    raw = RawReadings(scene.config)

    async def find(connection: Any) -> tuple[int, list[datetime], list[Bucket]]:
        read = await raw.archived(connection, METER, ["meter-0"], MIDNIGHT, NEXT_MIDNIGHT)
        before = await raw.before(connection, METER, [Stretch("meter-0", NEXT_MIDNIGHT, NEXT_MIDNIGHT)])
        after = await raw.after(connection, METER, [Bucket("meter-0", MIDNIGHT - timedelta(hours=1))])
        return len(read), [row[1] for row in before], after

    async def work(connection: Any) -> None:
        await raw.look(connection)
        await scene.until_archived()
        last = MIDNIGHT + timedelta(minutes=19)
        assert await find(connection) == (20, [last], [Bucket("meter-0", hour_of(last))])

    await database.with_connection(scene.url, "rollups", work)
    await raw._archive.close()


async def test_an_hour_beside_a_day_that_was_given_up_stays_as_it_is(fresh: World) -> None:
    """Its pair reaches across midnight, and what it says cannot be made from what remains."""
    at = NEXT_MIDNIGHT + timedelta(seconds=5)
    await fresh.store(meter(at - timedelta(seconds=8), 2), vehicle(at, 1), vehicle(at + 2 * HOUR, 3))
    await fresh.store(meter(at - DAY_LONG, 1), meter(at - DAY_LONG - timedelta(seconds=9), 4))
    await fresh.round(NEXT_MIDNIGHT + 30 * HOUR)
    await fresh.prove()
    before = await fresh.rows("pair_hour")
    assert before[("VEHICLE_1", NEXT_MIDNIGHT, "METER_1")][2] == 1  # correlated
    await fresh.give_up(MIDNIGHT)
    # After midnight, and in the hours that are made anew with it; before the day; and where nothing is amiss.
    await fresh.store(vehicle(at + timedelta(seconds=60), 0), vehicle(at - DAY_LONG - timedelta(seconds=60), 0))
    await fresh.store(vehicle(at + 2 * HOUR + timedelta(seconds=60), 0.5))
    await fresh.round()
    after = await fresh.rows("pair_hour")
    late = ("VEHICLE_1", NEXT_MIDNIGHT + 2 * HOUR, "METER_1")
    assert after.pop(late)[1] == before.pop(late)[1] + 1 == 2  # readings of the vehicle
    assert after == before
    assert fresh.duty.report()["rollup_marks"] == 0
    assert fresh.duty.report()["rollup_hours_left"] > 0


async def test_a_register_goes_on_from_what_it_showed_in_a_day_that_was_given_up(fresh: World, tmp_path: Path) -> None:
    def shows(at: datetime, kwh: float) -> Any:
        return "meter", "METER_R1", at, (Decimal(str(kwh)), Decimal(230))

    async def counted() -> dict[datetime, Decimal]:
        return {hour: row[1] for (_, hour), row in (await fresh.rows("meter_hour")).items()}

    # The second day is a gap of the register, so that what it showed before it lies beyond the near past.
    third_day = NEXT_MIDNIGHT + DAY_LONG
    await fresh.store(shows(NEXT_MIDNIGHT - HOUR, 90), shows(NEXT_MIDNIGHT - HOUR / 2, 100))
    await fresh.store(shows(third_day + HOUR / 2, 103), shows(third_day + 2 * HOUR, 105))
    await fresh.round(third_day + 30 * HOUR)
    before = await counted()
    assert before[third_day] == 3
    await fresh.give_up(MIDNIGHT)
    await fresh.store(shows(third_day + HOUR / 4, 102))
    await fresh.round()
    assert await counted() == before
    fresh.restart(configured(tmp_path, device__register_power_max_kw=500))
    await fresh.round()
    assert await counted() == before


def test_maintenance_has_one_archive_with_the_memory_of_one(tmp_path: Path) -> None:
    maintenance = Maintenance(structlog.get_logger(), configured(tmp_path), "postgresql://nowhere/")
    duties = {rounds.duty.name: rounds.duty for rounds in maintenance.rounds}
    archiving, rollups = duties["archive"], duties["rollups"]
    assert isinstance(archiving, ArchiveDuty)
    assert isinstance(rollups, RollupDuty)
    assert archiving.archive is rollups._raw._archive
