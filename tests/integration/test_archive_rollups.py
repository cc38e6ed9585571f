"""Rollups see every reading of days that are leaving history, and keep what they say of days that were given up."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hseie import database
from hseie.archive_export import bounds
from hseie.maintenance.raw import RawReadings
from hseie.maintenance.stretches import Bucket, Stretch, hour_of
from hseie.readings import METER
from tests.integration.archive_scene import DAY, ArchiveScene, needs_duckdb

MIDNIGHT, NEXT_MIDNIGHT = bounds(DAY)


@pytest.fixture
async def scene(database_url: str, tmp_path: Path) -> ArchiveScene:
    needs_duckdb()
    made = ArchiveScene(database_url, tmp_path)
    await made.begin()
    return made


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
