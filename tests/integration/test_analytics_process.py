"""The analytics process from start to stop, and what it does while PostgreSQL goes away and comes back."""

import asyncio
import socket
import time
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest

from hseie.analytics.service import serve
from hseie.config import Config, Http
from hseie.database import connect
from hseie.errors import PortTakenError
from hseie.process import Child


class FakeChild:
    """What `serve` needs of a Child."""

    def __init__(self) -> None:
        self.name = "analytics"
        self.run_dir = Path("not-used")  # nobody asks for keys
        self.stopping = asyncio.Event()
        self.relieved = False
        self.is_ready = asyncio.Event()
        self.report: Any = dict

    def ready(self) -> None:
        self.is_ready.set()

    async def node_status(self) -> dict[str, Any]:
        return {"node": {"state": "ready"}, "processes": []}


def _config() -> Config:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return Config(http=Http(port=1, analytics_port=probe.getsockname()[1]))


async def _get(config: Config, path: str) -> tuple[int, Any]:
    url = f"http://127.0.0.1:{config.analytics_port}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.json(content_type=None)


async def test_start_serve_stop(database_url: str) -> None:
    child, config = FakeChild(), _config()
    serving = asyncio.create_task(serve(cast(Child, child), config, database_url))
    await asyncio.wait_for(child.is_ready.wait(), 5)
    assert (await _get(config, "/v1/analytics/stats"))[0] == 200
    assert child.report()["connections"] >= 0
    began = time.monotonic()
    child.stopping.set()
    await serving
    assert time.monotonic() - began < 2.0


async def test_a_taken_port_ends_the_process(database_url: str) -> None:
    config = _config()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", config.analytics_port))
        taken.listen()
        with pytest.raises(PortTakenError):
            await serve(cast(Child, FakeChild()), config, database_url)


async def test_connections_that_were_cut_are_made_anew(database_url: str) -> None:
    child, config = FakeChild(), _config()
    serving = asyncio.create_task(serve(cast(Child, child), config, database_url))
    await asyncio.wait_for(child.is_ready.wait(), 5)
    assert (await _get(config, "/v1/analytics/stats"))[0] == 200
    connection = await connect(database_url, "tests", 10)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND datname = current_database()"
    )
    await connection.close()
    await asyncio.sleep(0.1)
    for _ in range(5):
        assert (await _get(config, "/v1/ingest/meter/M/current"))[0] == 404
    child.stopping.set()
    await serving
