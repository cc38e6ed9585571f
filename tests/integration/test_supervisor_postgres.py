"""The embedded PostgreSQL under the supervisor: started again when it dies, stopped also while it starts."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Any

from hseie import database
from hseie.config import Supervisor
from hseie.embedded.server import EmbeddedPostgres
from hseie.supervisor.postgres import PostgresKeeper


async def answers(url: str) -> bool:
    with contextlib.suppress(database.DatabaseUnavailableError):
        return bool(await database.with_connection(url, "tests", lambda connection: connection.fetchval("SELECT 1")))
    return False


async def test_started_again_after_kill_9(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "postgres")
    keeper = PostgresKeeper(server, Supervisor(restart_delay_ms=50))
    moved: list[str] = []
    url = await keeper.start()
    keeping = asyncio.create_task(keeper.keep(url, moved.append))
    try:
        assert await answers(url)
        before = keeper.row()
        assert (before["name"], before["state"], before["restarts"]) == ("postgres", "ready", 0)
        os.kill(before["pid"], signal.SIGKILL)
        async with asyncio.timeout(90):
            while keeper.row()["restarts"] == 0 or keeper.row()["state"] != "ready":
                await asyncio.sleep(0.05)
        assert keeper.row()["pid"] != before["pid"]
        assert await answers(moved[0] if moved else url)
    finally:
        keeping.cancel()
        await keeper.stop()
    assert keeper.row()["state"] == "down"
    assert not await answers(url)


class SlowServer:
    """Starts for ever, as one that recovers; on_wait is its only way out."""

    pid = None

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.begun = False

    def start(self, on_wait: Any) -> str:
        self.begun = True
        try:
            while True:
                on_wait("recovering")
        finally:
            self.calls.append("start ended")

    def stop(self) -> None:
        self.calls.append("stop")


async def test_stopped_in_the_middle_of_its_start() -> None:
    server: Any = SlowServer()
    keeper = PostgresKeeper(server, Supervisor())
    starting = asyncio.create_task(keeper.start())
    async with asyncio.timeout(30):
        while not server.begun:
            await asyncio.sleep(0.01)
        starting.cancel()
        await keeper.stop()
    assert server.calls == ["start ended", "stop"]
