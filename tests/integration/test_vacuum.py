"""What vacuum does for partitions: their settings, and the duty that vacuums a day once it is over."""

import shutil
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import structlog
from structlog.testing import capture_logs

from hseie import database, migrations
from hseie.config import Config
from hseie.maintenance.partitions import make_partitions, open_connection
from hseie.maintenance.vacuum import LAG, LOCKED_RETRY_S, VacuumDuty, over_before
from hseie.resources import resource
from tests.conftest import database_at, execute

DAY = date(2026, 2, 28)
AFTER = datetime(2026, 3, 1, 0, 30, tzinfo=UTC)
OVER = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE '%_history_%' AND relallvisible = relpages"
SETTINGS = "SELECT reloptions FROM pg_class WHERE relname = 'vehicle_history_2026_02_28'"
ROWS = 20_000


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Any]:
    """As maintenance has it, with two days of partitions."""
    found = await open_connection(Config(), database_url)
    await make_partitions(found, [DAY, DAY + timedelta(days=1)])
    yield found
    await database.close(found)


def duty() -> VacuumDuty:
    return VacuumDuty(structlog.get_logger(), Config())


async def insert(connection: Any, rows: int, day: date = DAY) -> None:
    await connection.execute(
        "INSERT INTO meter_history (timestamp, meter_id, kwh_consumed_ac, voltage)"
        " SELECT $1::date + (n % 1440) * interval '1 min', 'M' || n % 20, 1, 230 FROM generate_series(1, $2) AS n",
        day,
        rows,
    )


async def names(connection: Any) -> list[str]:
    return [row[0] for row in await connection.fetch(f"{OVER} AND relpages > 0")]


def test_a_day_is_over_a_while_after_its_end() -> None:
    midnight = datetime(2026, 3, 1, tzinfo=UTC)
    assert over_before(midnight + LAG - timedelta(seconds=1)) == DAY
    assert over_before(midnight + LAG) == DAY + timedelta(days=1)


async def test_a_day_that_is_over_is_vacuumed_once(connection: Any) -> None:
    await insert(connection, ROWS)
    await insert(connection, ROWS, DAY + timedelta(days=1))
    vacuuming = duty()
    assert await vacuuming.work(connection, AFTER - timedelta(hours=1)) == Config().maintenance.interval_s
    assert vacuuming.report()["vacuums"] == 0
    await vacuuming.work(connection, AFTER)
    assert await names(connection) == ["meter_history_2026_02_28"]
    assert vacuuming.report()["vacuums"] == 1
    assert vacuuming.report()["vacuum_s"] > 0
    for again in (vacuuming, duty()):  # what was done is known without remembering it
        await again.work(connection, AFTER)
    assert vacuuming.report()["vacuums"] == 1
    assert again.report()["vacuums"] == 0


async def test_many_late_rows_have_it_vacuumed_again_but_not_at_once(
    connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    vacuuming = duty()
    await insert(connection, ROWS)
    await vacuuming.work(connection, AFTER)
    await insert(connection, ROWS // 10)
    await vacuuming.work(connection, AFTER)
    assert vacuuming.report()["vacuums"] == 1
    monkeypatch.setattr("hseie.maintenance.vacuum.AGAIN_S", 0.0)
    await vacuuming.work(connection, AFTER)
    assert vacuuming.report()["vacuums"] == 2
    assert await names(connection) == ["meter_history_2026_02_28"]
    await insert(connection, 2)  # of 200 pages, one
    await vacuuming.work(connection, AFTER)
    assert vacuuming.report()["vacuums"] == 2


async def test_rows_that_will_never_change_are_frozen(connection: Any) -> None:
    await insert(connection, ROWS)
    await duty().work(connection, AFTER)
    age = "SELECT age(relfrozenxid) FROM pg_class WHERE relname = 'meter_history_2026_02_28'"
    assert await connection.fetchval(age) < 10


async def test_it_works_beside_a_writer_and_is_put_off_by_a_lock(database_url: str, connection: Any) -> None:
    await insert(connection, ROWS)
    writer = await database.connect(database_url, "writer", 10)
    hasty = await open_connection(Config(), database_url)
    await hasty.execute("SET lock_timeout = 100")
    vacuuming = duty()
    try:
        lock = writer.transaction()
        await lock.start()
        await writer.execute("LOCK TABLE meter_history_2026_02_28 IN SHARE UPDATE EXCLUSIVE MODE")
        with capture_logs() as logs:
            assert await vacuuming.work(hasty, AFTER) == LOCKED_RETRY_S
        assert vacuuming.report() == {"vacuums": 0, "vacuum_s": 0.0, "vacuums_postponed": 1}
        assert logs[0]["partitions"] == ["meter_history_2026_02_28"]
        await lock.rollback()
        async with writer.transaction():
            await insert(writer, 1)
            await vacuuming.work(hasty, AFTER)
        assert (vacuuming.report()["vacuums"], vacuuming.report()["vacuums_postponed"]) == (1, 0)
    finally:
        await database.close(writer)
        await database.close(hasty)


async def test_a_partition_that_goes_meanwhile_is_no_trouble(connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await insert(connection, ROWS)
    vacuuming = duty()
    due = vacuuming._due

    async def and_drop(*arguments: Any) -> list[tuple[str, int]]:
        found = await due(*arguments)
        await connection.execute("DROP TABLE meter_history_2026_02_28")
        return found

    monkeypatch.setattr(vacuuming, "_due", and_drop)
    assert await vacuuming.work(connection, AFTER) == Config().maintenance.interval_s
    assert vacuuming.report()["vacuums_postponed"] == 0


async def test_vacuums_rest_now_and_then(connection: Any) -> None:
    await insert(connection, ROWS)
    assert await connection.fetchval("SHOW vacuum_cost_delay") == "0"
    await duty().work(connection, AFTER)
    assert await connection.fetchval("SHOW vacuum_cost_delay") == "2ms"


async def test_new_partitions_are_followed_by_autovacuum(connection: Any) -> None:
    options = await connection.fetchval(SETTINGS)
    assert "autovacuum_vacuum_insert_threshold=100000" in options
    assert "autovacuum_vacuum_insert_scale_factor=0.2" in options
    assert "autovacuum_freeze_min_age=0" in options


@pytest.mark.parametrize("held", [False, True])
async def test_partitions_of_before_get_the_settings_unless_they_are_locked(
    postgres_server_url: str, tmp_path: Path, held: bool
) -> None:
    name = f"hseie_test_{uuid4().hex}"
    await execute(postgres_server_url, f'CREATE DATABASE "{name}"')
    files = shutil.copytree(resource("sql") / "migrations", tmp_path / "migrations")
    later = [file for file in sorted(files.glob("*.sql")) if file.name >= "0011"]
    for file in later:
        file.rename(tmp_path / file.name)
    url = database_at(postgres_server_url, name)
    connection, holder = await database.connect(url, "tests", 10), await database.connect(url, "holder", 10)
    try:
        await migrations.migrate(connection, files)
        await make_partitions(connection, [DAY])
        assert await connection.fetchval(SETTINGS) is None
        (tmp_path / later[0].name).rename(files / later[0].name)
        async with holder.transaction():
            mode = "SHARE UPDATE EXCLUSIVE" if held else "ROW EXCLUSIVE"  # an operator's vacuum; a flush
            await holder.execute(f"LOCK TABLE vehicle_history_2026_02_28 IN {mode} MODE")
            await migrations.migrate(connection, files)
        assert (await connection.fetchval(SETTINGS) is None) is held
        meters = await connection.fetchval(SETTINGS.replace("vehicle", "meter"))
        assert meters == await connection.fetchval(
            "SELECT string_to_array(replace(hseie_partition_storage(), ' = ', '='), ', ')"
        )
    finally:
        await database.close(connection)
        await database.close(holder)
        await execute(postgres_server_url, f'DROP DATABASE "{name}" WITH (FORCE)')
