"""The maintenance process and the one-shot step before the first writer, against a real database."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
import structlog
from structlog.testing import capture_logs

from hseie import database
from hseie.config import Config
from hseie.config_load import load
from hseie.maintenance import migrate
from hseie.maintenance.duty import RETRY_S, Rounds, Troubles
from hseie.maintenance.partitions import PartitionDuty, make_partitions, open_connection
from hseie.maintenance.service import serve

NOW = datetime(2026, 2, 28, 23, 30, tzinfo=UTC)
NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


class FakeChild:
    """As much of a Child as these roles use."""

    def __init__(self) -> None:
        self.log = structlog.get_logger()
        self.stopping = asyncio.Event()
        self.report: Any = dict
        self.is_ready = False

    def ready(self) -> None:
        self.is_ready = True


def config(tmp_path: Path, **overrides: Any) -> Config:
    given = {name.replace("__", "."): value for name, value in overrides.items()}
    return load(overrides={"node.data": str(tmp_path), "maintenance.partitions_ahead_days": 2, **given}).config


def partition_rounds(config: Config, url: str) -> Rounds:
    log = structlog.get_logger()
    return Rounds(PartitionDuty(log, config), Troubles(log), config, url)


async def fetch(url: str, sql: str) -> Any:
    return await database.with_connection(url, "tests", lambda connection: connection.fetch(sql))


async def partitions(url: str, kind: str) -> list[str]:
    rows = await fetch(
        url, f"SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = '{kind}_history'::regclass"
    )
    return sorted(row["name"] for row in rows)


async def eventually(look: Any, what: str) -> None:
    async with asyncio.timeout(60):
        while not await look():
            await asyncio.sleep(0.05)


async def test_a_round_makes_what_is_missing_and_then_nothing(database_url: str, tmp_path: Path) -> None:
    rounds = partition_rounds(config(tmp_path), database_url)
    assert await rounds.round(NOW) == 300.0
    days = ["2026_02_27", "2026_02_28", "2026_03_01", "2026_03_02"]
    for kind in ("meter", "vehicle"):
        assert await partitions(database_url, kind) == [f"{kind}_history_{day}" for day in days]
    assert rounds.duty.report() == {
        "partitions_made": 8,
        "partitions_postponed": 0,
        "partitions_foreign": 0,
        "partitions_foreign_names": "",
    }
    await rounds.round(NOW)
    assert rounds.duty.report()["partitions_made"] == 8
    await rounds.round(NOW + timedelta(days=1))
    assert rounds.duty.report()["partitions_made"] == 10
    assert rounds.finished == 3


async def test_a_lock_postpones_the_work_and_blocks_nobody_for_long(database_url: str, tmp_path: Path) -> None:
    settings = config(tmp_path, postgres__lock_timeout_ms=100)
    holder = await database.connect(database_url, "holder", 10)
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("LOCK TABLE meter_history IN ACCESS EXCLUSIVE MODE")
    connection = await open_connection(settings, database_url)
    try:
        outcome = await make_partitions(connection, [date(2026, 2, 28)])
        assert (outcome.made, outcome.postponed) == (["vehicle 2026-02-28"], ["meter 2026-02-28"])
        assert await partition_rounds(settings, database_url).round(NOW) == RETRY_S
        await transaction.rollback()
        outcome = await make_partitions(connection, [date(2026, 2, 28)])
        assert outcome.made == ["meter 2026-02-28"]
    finally:
        await database.close(connection)
        await database.close(holder)


async def test_attaching_a_partition_lets_copy_and_queries_go_on(database_url: str, tmp_path: Path) -> None:
    connection = await open_connection(config(tmp_path, postgres__lock_timeout_ms=5000), database_url)
    writer = await database.connect(database_url, "writer", 10)
    try:
        await make_partitions(connection, [NOW.date()])
        async with writer.transaction():
            await writer.execute(
                "INSERT INTO meter_history (timestamp, meter_id, kwh_consumed_ac, voltage) VALUES ($1, 'M', 1, 230)",
                NOW,
            )
            outcome = await make_partitions(connection, [NOW.date() + timedelta(days=1)])
            assert len(outcome.made) == 2
    finally:
        await database.close(connection)
        await database.close(writer)


async def test_several_sessions_may_make_the_same_partition_at_once(database_url: str, tmp_path: Path) -> None:
    connections = [await open_connection(config(tmp_path), database_url) for _ in range(4)]
    try:
        for day in [NOW.date() + timedelta(days=days) for days in range(5)]:
            outcomes = await asyncio.gather(*(make_partitions(connection, [day]) for connection in connections))
            assert sorted(made for outcome in outcomes for made in outcome.made) == [f"meter {day}", f"vehicle {day}"]
            assert not any(outcome.postponed for outcome in outcomes)
    finally:
        for connection in connections:
            await database.close(connection)


async def test_trouble_is_said_once_and_its_end_once(database_url: str, tmp_path: Path) -> None:
    with capture_logs() as logs:
        rounds = partition_rounds(config(tmp_path), NOWHERE)
        for _ in range(3):
            assert await rounds.round(NOW) == RETRY_S
        rounds._troubles.met("another duty", OSError("gone"))
        assert str(rounds._troubles) == "database_away"
        rounds._url = database_url
        await rounds.round(NOW)
        assert str(rounds._troubles) == "database_away"  # of the other duty
        rounds._troubles.over("another duty")
        await rounds.round(NOW)
    assert str(rounds._troubles) == ""
    assert [log["event"] for log in logs] == ["database_away", "partitions_made", "database_back"]


async def test_a_database_without_tables_is_an_operators_affair(postgres_server_url: str, tmp_path: Path) -> None:
    with capture_logs() as logs:
        rounds = partition_rounds(config(tmp_path), postgres_server_url)
        assert await rounds.round(NOW) == RETRY_S
    assert str(rounds._troubles) == "database_not_usable"
    assert "hseie migrate" in logs[0]["advice"]


async def test_the_process_is_ready_without_a_database_and_stops_when_told(tmp_path: Path) -> None:
    child: Any = FakeChild()
    with capture_logs():
        serving = asyncio.create_task(serve(child, config(tmp_path), NOWHERE))
        async with asyncio.timeout(30):
            while child.report().get("trouble") != "database_away":
                await asyncio.sleep(0.02)
            assert child.is_ready
            child.stopping.set()
            await serving


async def test_the_step_before_the_writers(postgres_server_url: str, tmp_path: Path) -> None:
    name = "hseie_step"
    await database.with_connection(
        postgres_server_url, "tests", lambda connection: connection.execute(f"CREATE DATABASE {name}")
    )
    url = urlunsplit(urlsplit(postgres_server_url)._replace(path=f"/{name}"))
    try:
        child: Any = FakeChild()
        with capture_logs() as logs:
            await migrate.serve(child, config(tmp_path), url)
            await migrate.serve(child, config(tmp_path), url)
        assert {log["event"] for log in logs} == {"migration_applied", "partitions_made"}
        today = datetime.now(UTC).date()
        assert f"meter_history_{today:%Y_%m_%d}" in await partitions(url, "meter")
    finally:
        await database.with_connection(
            postgres_server_url, "tests", lambda connection: connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        )


async def test_the_step_waits_for_the_database_and_can_be_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "_RETRY_S", 0.02)
    child: Any = FakeChild()
    with capture_logs() as logs:
        step = asyncio.create_task(migrate.serve(child, config(tmp_path), NOWHERE))
        await asyncio.sleep(0.3)
        assert not step.done()
        child.stopping.set()
        async with asyncio.timeout(30):
            await step
    assert [log["event"] for log in logs] == ["database_away"]
