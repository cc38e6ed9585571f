"""Migrations against a real database: applied once, together, or not at all."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest

from hseie import database, migrations
from hseie.errors import MigrationError


@pytest.fixture
async def empty_url(postgres_server_url: str) -> AsyncIterator[str]:
    """The address of a database without anything in it."""
    name = f"hseie_empty_{uuid4().hex}"

    async def execute(statement: str) -> None:
        await database.with_connection(postgres_server_url, "tests", lambda connection: connection.execute(statement))

    await execute(f'CREATE DATABASE "{name}"')
    yield urlunsplit(urlsplit(postgres_server_url)._replace(path=f"/{name}"))
    await execute(f'DROP DATABASE "{name}" WITH (FORCE)')


async def on(url: str, work: Any) -> Any:
    return await database.with_connection(url, "tests", work)


def folder(tmp_path: Path, **files: str) -> Path:
    for name, text in files.items():
        (tmp_path / f"{name[1:]}.sql").write_text(text)
    return tmp_path


async def test_applied_once(empty_url: str) -> None:
    everything = migrations.read_migrations()
    assert await on(empty_url, migrations.check) == everything
    assert await on(empty_url, migrations.migrate) == everything
    assert await on(empty_url, migrations.migrate) == []
    assert await on(empty_url, migrations.check) == []


async def test_a_schema_whose_name_needs_quotes(empty_url: str) -> None:
    async def work(connection: Any) -> None:
        await connection.execute('CREATE SCHEMA "Mine, and old"')
        await connection.execute('SET search_path = "Mine, and old"')
        await migrations.migrate(connection)
        make = "SELECT hseie_make_partition('meter', '2026-11-20')"
        assert [await connection.fetchval(make), await connection.fetchval(make)] == [True, False]
        await connection.execute("ALTER TABLE meter_history DETACH PARTITION meter_history_2026_11_20")
        with pytest.raises(database.PostgresError, match="exists but is not a partition"):
            await connection.fetchval(make)

    await on(empty_url, work)


async def test_an_upgrade_misses_no_journal_that_was_drained_long_ago(empty_url: str, tmp_path: Path) -> None:
    everything = migrations.read_migrations()
    [number] = [migration.number for migration in everything if "retired_journals" in migration.name]
    for migration in everything[: number - 1]:
        (tmp_path / migration.name).write_text(migration.text)
    await on(empty_url, lambda connection: migrations.migrate(connection, tmp_path))
    rows = ", ".join(
        f"(gen_random_uuid(), 0, {shards}, 1, gen_random_uuid(), 1, 1, now() - interval '{days} days')"
        for shards, days in ((2, 9), (3, 2), (3, 5), (4, 3))
    )
    insert = f"INSERT INTO shard_checkpoint VALUES {rows}"
    await on(empty_url, lambda connection: connection.execute(insert))
    await on(empty_url, migrations.migrate)
    sql = "SELECT array_agg(shards || coalesce(retired_reason, '') ORDER BY shards) FROM shard_checkpoint"
    assert await on(empty_url, lambda connection: connection.fetchval(sql)) == ["2drained", "3", "3", "4drained"]


async def test_runners_at_the_same_time_share_the_work(empty_url: str) -> None:
    found = await asyncio.gather(*(on(empty_url, migrations.migrate) for _ in range(4)))
    assert sorted(len(applied) for applied in found) == [0, 0, 0, len(migrations.read_migrations())]


async def test_a_migration_that_fails_leaves_nothing_behind(empty_url: str, tmp_path: Path) -> None:
    files = folder(tmp_path, _0001_good="CREATE TABLE a ();", _0002_bad="CREATE TABLE b (); SELECT 1/0;")
    with pytest.raises(MigrationError, match=r"0002_bad\.sql: division by zero; it was rolled back"):
        await on(empty_url, lambda connection: migrations.migrate(connection, files))
    assert await on(empty_url, lambda connection: connection.fetchval("SELECT to_regclass('a')::text")) == "a"
    assert await on(empty_url, lambda connection: connection.fetchval("SELECT to_regclass('b')::text")) is None
    (tmp_path / "0002_bad.sql").write_text("CREATE TABLE b ();")
    applied = await on(empty_url, lambda connection: migrations.migrate(connection, files))
    assert [migration.number for migration in applied] == [2]


async def test_a_file_changed_afterwards_is_refused(empty_url: str, tmp_path: Path) -> None:
    files = folder(tmp_path, _0001_good="CREATE TABLE a ();")
    await on(empty_url, lambda connection: migrations.migrate(connection, files))
    (tmp_path / "0001_good.sql").write_text("CREATE TABLE a (); -- and more")
    for work in (migrations.migrate, migrations.check):
        with pytest.raises(MigrationError, match="was changed after it was applied"):
            await on(empty_url, lambda connection, work=work: work(connection, files))
