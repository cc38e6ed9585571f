"""Looks after the embedded PostgreSQL: starts it, starts it again when it dies, stops it last.

Its start and stop block, for minutes where it has to recover, and its life hangs on the thread that started it. So one
thread does nothing else for as long as the node lives, and the supervisor's loop waits for it without being blocked.
"""

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import structlog

from hseie.config import Supervisor as Settings
from hseie.embedded.server import EmbeddedPostgres
from hseie.errors import EmbeddedPostgresError
from hseie.supervisor import policy

_LOOK_EVERY_S = 1.0
_SAY_EVERY_S = 5.0

T = TypeVar("T")


class _AbandonedError(Exception):
    """The node stops while PostgreSQL still starts."""


class PostgresKeeper:
    """The embedded server of a node. `start`, then `keep` as a task, then `stop`."""

    def __init__(self, server: EmbeddedPostgres, settings: Settings) -> None:
        self._server = server
        self._settings = settings
        self._log = structlog.get_logger("hseie").bind(name="postgres")
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="postgres")
        self._abandon = threading.Event()
        self._said_at = float("-inf")
        self._state = "starting"
        self._restarts = 0
        self._started = time.monotonic()

    async def start(self) -> str:
        """Start the server and return its url. Raises EmbeddedPostgresError."""
        url = await self._in_thread(lambda: self._server.start(on_wait=self._on_wait))
        self._state = "ready"
        self._started = time.monotonic()
        return url

    async def keep(self, url: str, on_moved: Callable[[str], None]) -> None:
        """Start the server again whenever it has died, for ever.

        `on_moved` is told the new url when another program has taken the port meanwhile: whoever has `url` is lost.
        """
        failures = 0
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if await self._in_thread(self._server.alive):
                continue
            self._state = "down"
            failures = policy.count_failure(failures, time.monotonic() - self._started, self._settings)
            delay_s = policy.restart_delay_s(failures, self._settings)
            self._log.error("postgres_died", restart_in_s=delay_s)
            await asyncio.sleep(delay_s)
            self._restarts += 1
            self._state = "starting"
            try:
                new_url = await self.start()
            except EmbeddedPostgresError as error:
                self._log.error("postgres_not_started", reason=str(error))
                continue
            if new_url != url:
                on_moved(new_url)

    async def stop(self) -> None:
        """Stop the server, also in the middle of its start."""
        self._abandon.set()
        try:
            await self._in_thread(self._server.stop)
        finally:
            self._state = "down"
            self._thread.shutdown(wait=False)

    def row(self) -> dict[str, Any]:
        """Return the server as a process of the snapshot."""
        return {
            "name": "postgres",
            "role": "postgres",
            "pid": self._server.pid,
            "state": self._state,
            "restarts": self._restarts,
            "last_exit": None,
            "heartbeat_age_ms": None,
            "uptime_s": round(time.monotonic() - self._started, 3),
            "rss_bytes": 0,
            "cpu_s": 0.0,
            "stats": {},
        }

    async def _in_thread(self, work: Callable[[], T]) -> T:
        # With the context of this task, in which the logger knows the name of the process.
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: context.run(work))

    def _on_wait(self, message: str) -> None:
        if self._abandon.is_set():
            raise _AbandonedError
        if time.monotonic() - self._said_at >= _SAY_EVERY_S:
            self._said_at = time.monotonic()
            self._log.info("postgres_starting", waiting_for=message)
