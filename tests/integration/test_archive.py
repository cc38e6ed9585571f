"""Old days leave history for the archive, or for good, and nothing is lost whatever comes between."""

from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from hseie.readings import METER, VEHICLE
from tests.integration.archive_scene import DAY, NOW, ArchiveScene, needs_duckdb

NEXT = DAY + timedelta(days=1)


@pytest.fixture
async def scene(database_url: str, tmp_path: Path) -> ArchiveScene:
    needs_duckdb()
    made = ArchiveScene(database_url, tmp_path)
    await made.begin()
    return made


async def test_an_old_day_goes_to_a_file_and_young_ones_stay(scene: ArchiveScene) -> None:
    young = NOW.date() - timedelta(days=35)
    for kind in (METER, VEHICLE):
        await scene.store(kind)
        await scene.store(kind, NEXT, devices=2)
        await scene.store(kind, young)
    with capture_logs() as logs:
        await scene.until_archived()
    assert await scene.partitions() == {f"{kind}_history_{young:%Y_%m_%d}" for kind in ("meter", "vehicle")}
    for kind in (METER, VEHICLE):
        assert await scene.states(kind) == [(1, "archived", 60)]
        assert await scene.states(kind, NEXT) == [(1, "archived", 40)]
    files = sorted(str(path.relative_to(scene.folder)) for path in scene.folder.rglob("*") if path.is_file())
    assert files == [f"{kind}/{day}/part-1.parquet" for kind in ("meter", "vehicle") for day in (DAY, NEXT)]
    assert [log["event"] for log in logs] == ["day_written"] * 4 + ["day_archived"] * 4 or len(logs) == 8
    figures = scene.duty.report()
    assert (figures["archive_parts"], figures["archive_readings"], figures["archive_trouble"]) == (4, 200, "")
    assert figures["archive_bytes"] == sum((scene.folder / file).stat().st_size for file in files)
    await scene.prove()
