"""`/metrics` while the ones it asks are away, and what analytics reports of itself."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from hseie.analytics.node import NodeView
from hseie.analytics.reader import Reader, TooManyQueriesError
from hseie.analytics.service import Parts, build
from hseie.config import Config
from hseie.database import PostgresError, connect
from hseie.errors import DatabaseUnavailableError

NOW = datetime(2026, 2, 9, tzinfo=UTC)
NOBODY = "postgresql://nobody@127.0.0.1:1/nothing"


class Supervisor:
    """Knows one acceptor, until it does not answer any more."""

    def __init__(self) -> None:
        self.away = False

    async def status(self) -> dict[str, Any]:
        if self.away:
            raise TimeoutError
        row = {"name": "acceptor-0", "role": "acceptor", "state": "ready", "stats": {"requests": 7}}
        return {"node": {"state": "ready"}, "processes": [row]}


@pytest.fixture
async def place(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[TestClient[Any, Any], Supervisor]]:
    """Analytics without a database."""
    monkeypatch.setattr("hseie.analytics.node.KEEP_S", 0.0)
    monkeypatch.setattr("hseie.analytics.health.KEEP_S", 0.0)
    config, supervisor = Config(), Supervisor()
    reader, probe = await Reader.open(config, NOBODY, "tests", 2), await Reader.open(config, NOBODY, "tests", 1)
    app, _, _ = build(Parts(config, reader, probe, NodeView(supervisor.status), lambda: NOW, NOBODY))
    async with TestClient[web.Request, web.Application](TestServer(app)) as client:
        yield client, supervisor
    await reader.close(1.0)
    await probe.close(1.0)


async def test_it_answers_without_database_and_without_supervisor(
    place: tuple[TestClient[Any, Any], Supervisor],
) -> None:
    client, supervisor = place

    async def lines() -> list[str]:
        async with client.get("/metrics") as answer:
            assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
            return (await answer.text()).splitlines()

    found = await lines()
    assert "hseie_node_postgres_up 0.0" in found
    assert "hseie_node_supervisor_up 1.0" in found
    assert 'hseie_acceptor_requests_total{process="acceptor-0"} 7.0' in found
    supervisor.away = True
    found = await lines()
    assert {"hseie_node_postgres_up 0.0", "hseie_node_supervisor_up 0.0", "hseie_node_ready 0.0"} <= set(found)
    assert not [line for line in found if line.startswith("hseie_acceptor")]


async def test_queries_are_counted_by_their_outcome(database_url: str) -> None:
    config = Config()
    reader = await Reader.open(config, database_url, "tests", 1)
    await reader.rows("health_ping")
    assert (reader.outcomes, sum(reader.seconds.counts), reader.busy) == ({"answered": 1}, 1, 0)
    connection = await connect(database_url, "tests", 10)
    await connection.execute("DROP TABLE schema_migration")
    await connection.close()
    with pytest.raises(PostgresError, match="schema_migration"):
        await reader.rows("health_ping")
    reader.busy = reader.busy_max
    with pytest.raises(TooManyQueriesError):
        await reader.rows("health_ping")
    reader.busy = 0
    assert reader.outcomes == {"answered": 1, "error": 1, "overloaded": 1}
    await reader.close(1.0)
    away = await Reader.open(config, NOBODY, "tests", 1)
    with pytest.raises(DatabaseUnavailableError):
        await asyncio.wait_for(away.rows("health_ping"), 30)
    assert (away.outcomes, sum(away.seconds.counts)) == ({"unavailable": 1}, 0)
    await away.close(1.0)
