"""Partitions that somebody made by hand: they are told, left alone, and misjudged by nobody."""

from datetime import timedelta
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from hseie import database
from hseie.database import statement
from hseie.maintenance.partitions import PartitionDuty, make_partitions, open_connection
from hseie.readings import METER, VEHICLE
from tests.integration.archive_scene import DAY, NOW, ArchiveScene, needs_duckdb

NEXT = DAY + timedelta(days=1)
MONTH = "CREATE TABLE {} PARTITION OF meter_history FOR VALUES FROM ('2026-02-08T00:00Z') TO ('2026-03-01T00:00Z')"
DEFAULT = "CREATE TABLE meter_history_rest PARTITION OF meter_history DEFAULT"
HERS = f"meter_history_{DAY:%Y_%m_%d}"  # as ours would be called
RETENTION = [{}, {"retention__then": "drop"}]


async def scene_of(url: str, folder: Path, **settings: str) -> ArchiveScene:
    needs_duckdb()
    scene = ArchiveScene(url, folder, **settings)
    await scene.begin()
    return scene


async def partition_round(scene: ArchiveScene) -> tuple[int, str]:
    """What a round of the duty for partitions says of foreign ones."""
    connection = await open_connection(scene.config, scene.url)
    duty = PartitionDuty(structlog.get_logger(), scene.config)
    try:
        await duty.work(connection, NOW)
    finally:
        await database.close(connection)
    report = duty.report()
    return report["partitions_foreign"], report["partitions_foreign_names"]


@pytest.mark.parametrize("settings", RETENTION, ids=["archive", "drop"])
@pytest.mark.parametrize(
    "name", [HERS, "meter_history_month", f"her_{HERS}", f"x_history_{NEXT:%Y_%m_%d}", "old_9999_99_99"]
)
async def test_a_month_stays_whole_whatever_it_is_called(
    database_url: str, tmp_path: Path, name: str, settings: dict[str, str]
) -> None:
    scene = await scene_of(database_url, tmp_path, **settings)
    await scene.execute(MONTH.format(name))
    for day in (DAY, NEXT, NEXT + timedelta(days=5)):
        await scene.store(METER, day, partition=False)
    await scene.until_archived()
    assert await scene.partitions() == {name}
    assert await scene.fetch("SELECT * FROM archive_part") == []
    assert await partition_round(scene) == (1, name)
    # The last line of defence, for a partition that is exchanged between two looks.
    with pytest.raises(database.PostgresError, match="is not the partition of 2026-02-08 alone"):
        await scene.execute(statement("archive_drop"), "meter", DAY)
    await scene.prove()


async def test_days_beside_a_default_partition_leave_history_and_their_late_readings_are_found(
    database_url: str, tmp_path: Path
) -> None:
    scene = await scene_of(database_url, tmp_path)
    await scene.store(METER)
    await scene.execute(DEFAULT)
    for day in (NEXT, NEXT + timedelta(days=1)):
        await scene.store(METER, day, partition=False)
    await scene.store(VEHICLE)
    await scene.until_archived()
    await scene.store(METER, offset_s=7, devices=1, readings=3, partition=False)
    await scene.a_day_later()
    await scene.until_archived()
    assert [state for _, state, _ in await scene.states()] == ["archived"]
    assert [state for _, state, _ in await scene.states(VEHICLE)] == ["archived"]
    assert await scene.partitions() == {"meter_history_rest"}
    assert await partition_round(scene) == (1, "meter_history_rest")
    await scene.prove()
    rows = await scene.fetch(statement("rollup_raw_days"), "meter")
    # The day of a late reading is read from both places.
    assert [(row["day"], row["in_history"], row["in_files"]) for row in rows][:2] == [
        (DAY, True, True),
        (NEXT, True, False),
    ]
    # A pair may be set: it looks for the oldest day.
    await scene.execute(statement("pair_mark"), ["VEHICLE_1"], [NOW], [None], timedelta(minutes=1), 10)
    # Moved as the runbook has it, it leaves like any other.
    connection = await database.connect(scene.url, "operator", 10)
    try:
        async with connection.transaction():
            await connection.execute("ALTER TABLE meter_history DETACH PARTITION meter_history_rest")
            for day in (DAY, NEXT, NEXT + timedelta(days=1)):
                await connection.execute(statement("make_partition"), "meter", day)
            await connection.execute("INSERT INTO meter_history SELECT * FROM meter_history_rest")
        await connection.execute("DROP TABLE meter_history_rest")
    finally:
        await database.close(connection)
    await scene.until_archived()
    assert {
        name for name in await scene.partitions() if name.endswith(("_rest", "_02_08", "_02_09", "_02_10"))
    } == set()
    assert await partition_round(scene) == (0, "")
    await scene.prove()


async def test_days_that_others_have_are_not_made_and_the_rest_is(database_url: str, tmp_path: Path) -> None:
    scene = await scene_of(database_url, tmp_path)
    await scene.execute(MONTH.format("meter_history_month"))
    await scene.execute("CREATE TABLE vehicle_history_rest PARTITION OF vehicle_history DEFAULT")
    await scene.store(VEHICLE, NEXT, partition=False)
    connection = await open_connection(scene.config, scene.url)
    try:
        outcome = await make_partitions(connection, [NEXT, NOW.date()])
        duty = PartitionDuty(structlog.get_logger(), scene.config)
        with capture_logs() as logs:
            for _ in range(3):
                await duty.work(connection, NOW)
    finally:
        await database.close(connection)
    assert (outcome.occupied, outcome.postponed) == ([f"meter {NEXT}", f"vehicle {NEXT}"], [])
    assert sorted(outcome.made) == [f"meter {NOW.date()}", f"vehicle {NOW.date()}"]
    [told] = [log for log in logs if log["event"] == "partitions_foreign"]
    assert told["partitions"] == ["meter_history_month", "vehicle_history_rest"]
    assert duty.report()["partitions_foreign"] == 2


async def test_how_a_database_writes_dates_hides_no_partition(database_url: str, tmp_path: Path) -> None:
    scene = await scene_of(database_url, tmp_path)
    await scene.store(METER)
    connection = await database.connect(
        scene.url, "tests", 10, {"timezone": "America/St_Johns", "datestyle": "sql, dmy"}
    )
    try:
        rows = await connection.fetch("SELECT day FROM hseie_partitions('meter')")
    finally:
        await database.close(connection)
    assert [row["day"] for row in rows] == [DAY]
