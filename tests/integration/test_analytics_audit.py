"""`GET /v1/audit` over a real database and a real journal."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hseie.config import Analytics, Config, Node, Writer
from hseie.database import connect
from hseie.writer.journal import journal_path
from tests.integration.test_analytics_routes import NOW, Client, FakeNode, _client, _get, node
from tests.integration.test_writer_commit import Shard, meter, query

__all__ = ["node"]  # a fixture, found by its name

LONG_AGO = "2026-01-05"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(node=Node(data=str(tmp_path)), writer=Writer(shards=1), analytics=Analytics(audit_timeout_ms=20_000))


@pytest.fixture
async def shard(config: Config, database_url: str) -> AsyncIterator[Shard]:
    """Readings of yesterday, of today and of long ago, and one that is not flushed yet."""
    shard = await Shard(journal_path(config.data_dir / "journal", 0, 1), database_url).open()
    async with shard.running():
        days = ("2026-02-08", "2026-02-09", LONG_AGO)
        await shard.until_committed(await shard.receive(*[meter("A", 1, day=day) for day in days]))
    await shard.receive(meter("A", 2, day="2026-02-09"))
    yield shard
    await shard.journal.close()


@pytest.fixture
async def client(config: Config, shard: Shard, node: FakeNode) -> AsyncIterator[Client]:
    async for client in _client(shard.url, node, config):
        yield client


async def test_the_last_two_days_and_all_of_the_arithmetic(client: Client, shard: Shard) -> None:
    assert NOW.date().isoformat() == "2026-02-09"
    status, body = await _get(client, "/v1/audit")
    assert (status, body["balanced"], body["fromDay"]) == (200, True, "2026-02-08")
    meters = body["kinds"]["meter"]
    assert (meters["acknowledged"], meters["stored"], meters["inFlight"], meters["tables"]["history"]) == (4, 3, 1, 2)
    assert [(day["day"], day["stored"], day["rows"]) for day in body["days"]] == [
        ("2026-02-08", 1, 1),
        ("2026-02-09", 1, 1),
    ]
    assert body["journals"][0]["inFlight"] == {"meter": 1, "vehicle": 0}
    assert [book["shard"] for book in body["books"]] == [0, 0]


async def test_a_disagreement_is_an_answer(client: Client, shard: Shard) -> None:
    await query(shard.url, f"DELETE FROM meter_history WHERE timestamp < '{LONG_AGO}T23:00Z'")
    assert (await _get(client, "/v1/audit"))[1]["balanced"] is True
    status, body = await _get(client, "/v1/audit?days=all")
    assert (status, body["balanced"], body["fromDay"]) == (200, False, None)
    assert body["differences"] == ["meter_history_2026_01_05 has 0 rows, the books say 1 of 2026-01-05 were stored"]
    assert (await _get(client, "/v1/audit?days=36"))[1]["balanced"] is False  # 5 January is the first of them
    assert (await _get(client, "/v1/audit?days=35"))[1]["balanced"] is True


@pytest.mark.parametrize("query_string", ["days=0", "days=-1", "days=some", "days=40000", "day=1", "days=1&days=2"])
async def test_what_is_not_understood_is_refused(client: Client, query_string: str) -> None:
    status, body = await _get(client, f"/v1/audit?{query_string}")
    assert (status, body["code"]) == (400, "bad_parameter")


@pytest.fixture
async def held_up(shard: Shard) -> AsyncIterator[Any]:
    """A transaction that keeps an audit waiting until it ends."""
    connection = await connect(shard.url, "tests", 10)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("LOCK TABLE day_book IN ACCESS EXCLUSIVE MODE")
    yield transaction
    await connection.close()


async def test_one_audit_at_a_time_and_everything_else_meanwhile(client: Client, held_up: Any) -> None:
    both = {asyncio.create_task(client.get("/v1/audit")) for _ in range(2)}
    [refused], [running] = await asyncio.wait(both, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    answer = await refused
    assert answer.status == 503
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert (await answer.json(content_type=None))["code"] == "overloaded"
    assert (await _get(client, "/v1/ingest/meter/A/current"))[0] == 200
    await held_up.rollback()
    assert (await (await running).json())["balanced"] is True
    assert (await _get(client, "/v1/audit"))[0] == 200


@pytest.mark.parametrize("config", [Config(analytics=Analytics(audit_timeout_ms=200), writer=Writer(shards=1))])
async def test_an_audit_that_takes_too_long_is_given_up(
    config: Config, database_url: str, node: FakeNode, tmp_path: Path
) -> None:
    connection = await connect(database_url, "tests", 10)
    async for client in _client(database_url, node, config):
        async with connection.transaction():
            await connection.execute("LOCK TABLE day_book IN ACCESS EXCLUSIVE MODE")
            status, body = await _get(client, "/v1/audit")
            assert (status, body["code"]) == (503, "database_unavailable")
            assert "Fewer days take less" in body["detail"]
        # Nor does it go on in PostgreSQL, or keep the next one out.
        async with asyncio.timeout(10):
            while await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'hseie audit' "
                "AND datname = current_database()"
            ):
                await asyncio.sleep(0.05)
        assert connection.is_closed() is False
    await connection.close()


async def test_without_the_database(config: Config, node: FakeNode) -> None:
    async for client in _client("postgresql://nobody@127.0.0.1:1/nothing", node, config):
        async with client.get("/v1/audit") as answer:
            assert answer.status == 503
            assert 1 <= int(answer.headers["Retry-After"]) <= 60
            assert (await answer.json(content_type=None))["code"] == "database_unavailable"
