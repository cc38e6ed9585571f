"""`/health`, `/livez`, `/readyz`: is the process there, is the node fit to serve."""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from aiohttp import web

import hseie
from hseie import web as http
from hseie.analytics.node import NodeView, Snapshot
from hseie.analytics.query import Query
from hseie.analytics.reader import Reader
from hseie.answers import Check, Health, Readiness, rfc3339
from hseie.errors import DatabaseUnavailableError, NotReachableError

KEEP_S = 1.0
POSTGRES_TIMEOUT_S = 1.0

# What a writer's `journal` figure says while its shard takes nothing.
_JOURNAL_DETAILS = {
    "full": "at its limit: devices get 503 until PostgreSQL has taken enough of it",
    "stuck": "a sync does not end: nothing is acknowledged",
    "disk_full": "its disk is nearly full: devices get 503 until there is room again",
}


class HealthRoutes:
    """Checks at most once a second, whoever asks. `reader` has a connection of its own, so that slow queries of others
    do not make the node look ill."""

    def __init__(self, reader: Reader, node: NodeView, now: Callable[[], datetime], shards: int) -> None:
        self._reader = reader
        self._node = node
        self._now = now
        self._shards = shards
        self._lock = asyncio.Lock()
        self._ping: asyncio.Task[Check] | None = None
        self._kept: list[Check] = []
        self._kept_until = 0.0

    async def livez(self, request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def health(self, request: web.Request) -> web.Response:
        well = all(check.ok and not check.degraded for check in await self.checks())
        return http.json_answer(
            Health(
                status="ok" if well else "degraded",
                timestamp=rfc3339(self._now()),
                service="hseie",
                version=hseie.__version__,
            )
        )

    async def readyz(self, request: web.Request) -> web.Response:
        query = Query(request.query, ("verbose",))
        verbose = query.flag("verbose")
        query.check()
        checks = await self.checks()
        failed = [check for check in checks if not check.ok]
        listed = checks if verbose else failed
        if not failed:
            return http.json_answer(Readiness(status="ready", checks=listed))
        wrong = ", ".join(f"{check.name}: {check.detail}" for check in failed)
        return http.problem("not_ready", wrong, extra={"checks": msgspec.to_builtins(listed)})

    async def checks(self) -> list[Check]:
        """Return what was found within the last second."""
        async with self._lock:
            if time.monotonic() >= self._kept_until:
                postgres, node = await asyncio.gather(self._postgres(), self._processes())
                self._kept = [postgres, *node]
                self._kept_until = time.monotonic() + KEEP_S
            return self._kept

    async def _postgres(self) -> Check:
        # What takes too long is left alone, not cancelled: asyncpg would wait until the server has heard of that, and
        # one that is stopped never does.
        if self._ping is None or self._ping.done():
            self._ping = asyncio.create_task(self._pinged())
        done, _ = await asyncio.wait({self._ping}, timeout=POSTGRES_TIMEOUT_S)
        if not done:
            return Check(name="postgres", ok=False, detail=f"no answer within {POSTGRES_TIMEOUT_S:g} s")
        return self._ping.result()

    async def _pinged(self) -> Check:
        try:
            await self._reader.rows("health_ping")
        except DatabaseUnavailableError:
            return Check(name="postgres", ok=False, detail="not reachable")
        return Check(name="postgres", ok=True, detail="answers")

    async def _processes(self) -> list[Check]:
        try:
            snapshot = await self._node.snapshot()
        except NotReachableError:
            return [Check(name="supervisor", ok=False, detail="does not answer")]
        return process_checks(snapshot, self._shards)


def process_checks(snapshot: Snapshot, shards: int) -> list[Check]:
    """Return the checks of the node and its processes: every shard has to be there, of the acceptors one."""
    draining = snapshot.state == "draining"
    checks = [Check(name="node", ok=not draining, detail=snapshot.state)]
    writers = snapshot.writers
    for shard in range(shards):
        writer = writers.get(shard)
        name = f"writer-{shard}"
        if writer is None or not writer.ready:
            checks.append(Check(name=name, ok=False, detail=writer.state if writer is not None else "down"))
            continue
        away = writer.stats.get("database") == "away"
        checks.append(Check(name=name, ok=True, detail="ready, waits for the database" if away else "ready"))
        checks.append(_journal_check(shard, writer.stats))
    acceptors = snapshot.role("acceptor")
    ready = sum(process.ready for process in acceptors)
    checks.append(Check(name="acceptors", ok=ready > 0, detail=f"{ready} of {len(acceptors)} ready"))
    return checks


def _journal_check(shard: int, stats: dict[str, Any]) -> Check:
    state = stats.get("journal", "ok")
    detail = _JOURNAL_DETAILS.get(state, "below its limit")
    if state == "slow":
        took = max(stats.get("sync_ms", 0), stats.get("sync_under_way_ms", 0))
        detail = f"its disk is slow: a sync takes {took:.0f} ms, and acknowledgements wait for it"
    refuses = state in _JOURNAL_DETAILS
    return Check(name=f"journal-{shard}", ok=not refuses, detail=detail, degraded=state == "slow")
