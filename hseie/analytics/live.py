"""`GET /v1/live`: what a dashboard shows, as server-sent events. Computed once for all who listen."""

import asyncio
import time

import msgspec
import structlog
from aiohttp import web

import hseie
from hseie import clock
from hseie import web as http
from hseie.analytics.fleet import FleetRoute
from hseie.analytics.health import HealthRoutes
from hseie.analytics.node import NodeView, Snapshot
from hseie.analytics.reader import Reader, TooManyQueriesError
from hseie.analytics.receipts import queue_counts
from hseie.analytics.throughput import SAMPLE_S, Throughput
from hseie.answers import Check, Fleet, Now, Past
from hseie.errors import DatabaseUnavailableError, NotReachableError
from hseie.readings import KINDS

LISTENERS_MAX = 100
# Whoever does not take an event in that time is let go; it may come again.
WRITE_TIMEOUT_S = 10.0
# So long without an event, a comment is sent: proxies cut what is silent, and a listener that has gone is noticed.
SILENCE_S = 5.0
# Then it is ended, and the listener comes again: with a key that may have been revoked meanwhile.
LISTEN_MAX_S = 300.0

_log = structlog.get_logger("hseie.analytics")


class LiveRoute:
    """Samples for ever, and tells those who listen. A listener that is slow misses events and gets the newest."""

    def __init__(self, reader: Reader, node: NodeView, health: HealthRoutes, fleet: FleetRoute, shards: int) -> None:
        self._reader = reader
        self._node = node
        self._health = health
        self._fleet = fleet
        self._shards = range(shards)
        self._throughput = Throughput()
        self._known: tuple[Fleet, int] | None = None  # with the number of dead letters
        self._known_is_old = False
        self._asking: asyncio.Task[None] | None = None
        self._event = b""
        self._news = asyncio.Event()  # a new one for each event
        self._ended = False
        self.listeners = 0

    async def live(self, request: web.Request) -> web.StreamResponse:
        """Send events until the listener goes, this process ends, or LISTEN_MAX_S have passed."""
        if self.listeners >= LISTENERS_MAX:
            return http.problem("overloaded", f"{LISTENERS_MAX} listen already.")
        # Proxies like nginx gather an answer before they pass it on, unless they are told not to.
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        if request.method == "HEAD":
            return web.Response(headers=headers)
        response = web.StreamResponse(headers=headers)
        response.force_close()  # there is no request after it
        self.listeners += 1
        until = time.monotonic() + LISTEN_MAX_S
        try:
            await response.prepare(request)
            await self._send(response, _event("past", Past(rates=list(self._throughput.past))) + self._event)
            while not self._ended and time.monotonic() < until:
                await self._send(response, await self._next())
        except (ConnectionError, TimeoutError):
            pass  # gone, or too slow; its connection is closed either way
        finally:
            self.listeners -= 1
        return response

    async def end(self, app: web.Application) -> None:
        """Let everybody go who listens; for `on_shutdown`, as the server would wait for them until its time-out."""
        self._ended = True
        self._news.set()

    async def sample(self) -> None:
        """Look at the node every two seconds, for ever."""
        while True:
            began = time.monotonic()
            try:
                await self._look()
            except Exception:
                _log.exception("sampling_failed")
            await asyncio.sleep(max(0.0, began + SAMPLE_S - time.monotonic()))

    async def _look(self) -> None:
        snapshot = await self._snapshot()
        if snapshot is not None:
            self._throughput.add(snapshot.answer["processes"], clock.unix_s(), time.monotonic())
        if not self.listeners:
            self._event = b""  # the next listener does not begin with what was long ago
            return
        if self._asking is None or self._asking.done():  # apart: PostgreSQL may take long to say nothing
            self._asking = asyncio.create_task(self._ask())
        checks = await self._health.checks()
        self._publish(_event("now", self._now(snapshot, checks)))

    async def _snapshot(self) -> Snapshot | None:
        try:
            return await self._node.snapshot()
        except NotReachableError:
            return None

    async def _ask(self) -> None:
        try:
            fleet, books = await asyncio.gather(self._fleet.figures(), self._reader.rows("receipt_books"))
        except (DatabaseUnavailableError, TooManyQueriesError):
            self._known_is_old = True
        except Exception:
            self._known_is_old = True
            _log.exception("sampling_failed")
        else:
            self._known = fleet, sum(row["dead_lettered"] for row in books)
            self._known_is_old = False

    def _now(self, snapshot: Snapshot | None, checks: list[Check]) -> Now:
        fleet, dead_lettered = self._known or (None, None)
        queues = [queue_counts(kind.name, snapshot, None) for kind in KINDS] if snapshot is not None else []
        acceptors = [process.stats for process in snapshot.role("acceptor")] if snapshot is not None else []
        problems: dict[str, int] = {}
        for stats in acceptors:
            for code, count in stats.get("problems", {}).items():
                problems[code] = problems.get(code, 0) + count
        return Now(
            state=snapshot.state if snapshot is not None else None,
            version=hseie.__version__,
            checks=checks,
            rates=self._throughput.latest if snapshot is not None else None,
            waiting=sum(queue.waiting for queue in queues) if snapshot is not None else None,
            active=sum(queue.active for queue in queues) if snapshot is not None else None,
            missing_shards=sorted(set(self._shards) - set(snapshot.writers if snapshot is not None else ())),
            rejected=sum(stats.get("rejected", 0) for stats in acceptors) if snapshot is not None else None,
            problems=problems,
            dead_lettered=dead_lettered,
            fleet=fleet,
            fleet_is_old=self._known_is_old or any(check.name == "postgres" and not check.ok for check in checks),
        )

    def _publish(self, event: bytes) -> None:
        self._event = event
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def _next(self) -> bytes:
        try:
            async with asyncio.timeout(SILENCE_S):
                await self._news.wait()
        except TimeoutError:
            return b": silence\n\n"
        return b"" if self._ended else self._event

    async def _send(self, response: web.StreamResponse, content: bytes) -> None:
        if content:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await response.write(content)


def _event(name: str, document: msgspec.Struct) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(document))
