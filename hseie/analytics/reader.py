"""Reads from PostgreSQL for the routes: a bounded number at a time, with one error for "not now"."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

import structlog

from hseie import database, failpoints, histogram
from hseie.config import Config
from hseie.database import Failure, Record, classify, statement
from hseie.errors import DatabaseUnavailableError, HseieError
from hseie.histogram import Histogram
from hseie.readings import Kind

# Requests that may wait for one of the pool's connections, per connection. More would only time out.
WAITING_PER_CONNECTION = 50

# Days of history up to which plans about one device are kept, which take longer to make than to run. A kept plan locks
# every partition: with both kinds of a hundred days 200 locks a question, of 5,000 and more that a server has room for.
# Days that an archive has not taken yet, or that got late readings, come on top; they are a few.
KEPT_PLANS_DAYS_MAX = 100

_log = structlog.get_logger("hseie.analytics")


class TooManyQueriesError(HseieError):
    """More requests wait for a connection than could be served in time. Answer 503 `overloaded`."""


def session_settings(config: Config) -> dict[str, str]:
    """Return the settings of a session that only reads."""
    return {
        "default_transaction_read_only": "on",
        "statement_timeout": str(config.analytics.statement_timeout_ms),
        # Plans are made for the values at hand: a generic plan would carry every partition of a year through
        # planning and locking. Planning takes 0.5 ms; compiling queries of 10 ms would take longer than they do.
        "plan_cache_mode": "force_custom_plan",
        "jit": "off",
    }


class Reader:
    """A pool of connections. It can be made while PostgreSQL is away."""

    def __init__(self, pool: Any, connections: int, wait_s: float, begin: str = "snapshot_begin") -> None:
        self._pool = pool
        self._begin = begin
        self._wait_s = wait_s
        # In front of the pool, which lets who comes just now overtake who waits.
        self._turns = asyncio.Semaphore(connections)
        self.busy = 0  # queries that run or wait for a connection
        self.outcomes: dict[str, int] = {}  # of all queries
        self.seconds = Histogram(histogram.SECONDS)  # of those that were answered
        self._away = False
        self.connections = connections
        self.busy_max = connections * (1 + WAITING_PER_CONNECTION)

    @classmethod
    async def open(
        cls, config: Config, url: str, name: str, connections: int, *, keeps_plans: bool = False
    ) -> "Reader":
        """Make the pool; nothing is connected yet. `keeps_plans`: also those of statements outside of snapshots."""
        few_days = 0 < config.retention.raw_days <= KEPT_PLANS_DAYS_MAX
        settings = session_settings(config)
        if keeps_plans and few_days:
            settings["plan_cache_mode"] = "force_generic_plan"
        pool = await database.create_pool(url, name, connections, config.postgres.connect_timeout_ms / 1000, settings)
        begin = "snapshot_begin_generic" if few_days else "snapshot_begin"
        return cls(pool, connections, config.analytics.statement_timeout_ms / 1000, begin)

    async def close(self, timeout_s: float) -> None:
        """Close all connections; those still busy after `timeout_s` are cut."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def rows(self, name: str, *values: Any, kind: Kind | None = None) -> Sequence[Record]:
        """Run the statement `name` and return its rows.

        Raises DatabaseUnavailableError (no connection in time, lost, or cancelled by its time-out) and
        TooManyQueriesError.
        """
        async with self._connection(name) as connection:
            found: Sequence[Record] = await connection.fetch(statement(name, kind), *values)
            return found

    async def row(self, name: str, *values: Any, kind: Kind | None = None) -> Record | None:
        """Run the statement and return its first row, or None. Raises as `rows`."""
        found = await self.rows(name, *values, kind=kind)
        return found[0] if found else None

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncIterator["Snapshot"]:
        """Give what several statements in a row see of one moment. It holds a connection: leave it soon.

        Raises as `rows`, for each statement too, and what is raised inside.
        """
        async with self._connection("snapshot") as connection:
            await connection.execute(statement(self._begin))
            try:
                yield Snapshot(connection)
            finally:
                # In one way to the server with the settings above, which a transaction of asyncpg would not be.
                if not connection.is_closed():
                    await connection.execute(statement("snapshot_end"))

    @contextlib.asynccontextmanager
    async def _connection(self, name: str) -> AsyncIterator[Any]:
        """Give a connection, for a statement or for some, and count how that went."""
        if self.busy >= self.busy_max:
            self._count("overloaded")
            raise TooManyQueriesError("too many queries wait for a connection")
        self.busy += 1
        began = time.monotonic()
        try:
            async with self._turn(), self._pool.acquire(timeout=self._wait_s) as connection:
                failpoints.reach("analytics.query")
                yield connection
        except Exception as error:
            if isinstance(error, HseieError) and not isinstance(error, DatabaseUnavailableError):
                self._count("answered")  # what is raised between two statements is no fault of theirs
                raise
            if classify(error) not in (Failure.UNAVAILABLE, Failure.RETRY):
                self._count("error")
                raise
            self._count("unavailable")
            if not self._away:
                _log.warning("query_failed", query=name, reason=f"{type(error).__name__}: {error}")
            self._away = True
            raise DatabaseUnavailableError(f"{type(error).__name__}: {error}") from error
        else:
            self._away = False  # the next failure is news again
            self._count("answered")
            self.seconds.observe(time.monotonic() - began)
        finally:
            self.busy -= 1

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Wait for a connection to be free, first come, first served. Raises TimeoutError."""
        if self._turns.locked():
            async with asyncio.timeout(self._wait_s):
                await self._turns.acquire()
        else:
            await self._turns.acquire()
        try:
            yield
        finally:
            self._turns.release()

    def _count(self, outcome: str) -> None:
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1


def figures(readers: Collection[Reader]) -> dict[str, Any]:
    """Return what a heartbeat tells of the queries of all of them together."""
    outcomes: Counter[str] = Counter()
    seconds = Histogram(histogram.SECONDS)
    for reader in readers:
        outcomes.update(reader.outcomes)
        seconds.add(reader.seconds)
    return {
        "queries": dict(outcomes),
        "query_seconds": seconds.report(),
        "queries_in_flight": sum(reader.busy for reader in readers),
    }


class Snapshot:
    """Statements on one connection, in one transaction: all see the same."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def rows(self, name: str, *values: Any, kind: Kind | None = None) -> Sequence[Record]:
        """Run the statement `name` and return its rows."""
        return await self.fetch(statement(name, kind), *values)

    async def fetch(self, text: str, *values: Any) -> Sequence[Record]:
        """Run a statement and return its rows."""
        found: Sequence[Record] = await self._connection.fetch(text, *values)
        return found
