"""PostgreSQL: connections, named statements from `sql/`, and what an error means. The only importer of asyncpg."""

import asyncio
import enum
import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import asyncpg

from hseie import failpoints
from hseie.errors import DatabaseUnavailableError
from hseie.readings import Kind
from hseie.resources import sql
from hseie.rollup_columns import from_hours, from_readings, rolled_columns

# asyncpg carries no types; these names are what the rest of HSEIE may use of it.
Connection = asyncpg.Connection
Pool = asyncpg.Pool
Record = Mapping[str, Any]
PostgresError = asyncpg.PostgresError

# What work with a connection may raise. InternalClientError is what asyncpg says when a backend dies between two steps.
DATABASE_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
    DatabaseUnavailableError,
)

# Of parts/effective.sql: its first parameter that depends on the kind, and what a register's energy is there.
_GIVEN_VALUES = 11
_ENERGY_STEP = "CASE WHEN is_register THEN hseie_register_kwh(event, before, {0}) ELSE {0} END AS {0}"

T = TypeVar("T")

# Of every session. Whatever the server's defaults are: a commit means synced, and a statement sees what was committed
# before it, also while the one before it waited for a lock (late_readings; who wants one snapshot for all says so). And
# the server notices within half a minute when we are gone without a word, so that our locks do not outlive us by the
# two hours of TCP.
_SESSION = {
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "synchronous_commit": "on",
    "default_transaction_isolation": "read committed",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "4",
}

# COPY sources are cut to this size: asyncpg waits for the socket between pieces, so the loop stays free.
_COPY_PIECE_BYTES = 262_144


class Failure(enum.Enum):
    """What to do about a database error."""

    UNAVAILABLE = "unavailable"  # no connection, or it broke: connect again, ask the checkpoint, try again
    RETRY = "retry"  # deadlock, lock time-out, serialization: roll back and try again
    NO_PARTITION = "no_partition"  # a row's day has no partition yet: make it and try again
    REFUSED = "refused"  # PostgreSQL will never take this row: find it and park it
    SCHEMA = "schema"  # tables are not as expected, or rights are missing: an operator has to look


_UNAVAILABLE_CLASSES = ("08", "53", "57", "58", "25")  # 25006: read only, as after a failover
_RETRY_CLASSES = ("40", "55")
_REFUSED_CLASSES = ("22", "23")
_RAISED = "P0001"  # RAISE EXCEPTION in a trigger: somebody's rule about rows


def classify(error: BaseException) -> Failure:
    """Tell by its SQLSTATE class what a database error asks for. Unknown ones are for an operator."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        # A missing partition has the code of a violated check and names the table, but no constraint. (Its text may be
        # translated.) A trigger that raises the same code names neither.
        if state == "23514" and getattr(error, "constraint_name", None) is None and getattr(error, "table_name", None):
            return Failure.NO_PARTITION
        if state[:2] in _UNAVAILABLE_CLASSES:
            return Failure.UNAVAILABLE
        if state[:2] in _RETRY_CLASSES:
            return Failure.RETRY
        if state[:2] in _REFUSED_CLASSES or state == _RAISED:
            return Failure.REFUSED
        # 28: wrong password or not allowed; 3D: no such database. Both may be an operator's work in progress.
        return Failure.UNAVAILABLE if state[:2] in ("28", "3D") else Failure.SCHEMA
    return Failure.UNAVAILABLE if isinstance(error, DATABASE_ERRORS) else Failure.SCHEMA


@functools.cache
def statement(name: str, kind: Kind | None = None) -> str:
    """Return the SQL of `sql/queries/<name>.sql`; with a kind, its `{...}` names filled from the declaration.

    The names are: kind, id, columns, values, assignments, sums (of the values, as text), partial_sums (under their
    names), energy (the column), given (parameters for arrays of values, of parts/effective.sql), after_given (the
    parameter behind them), values_as_energy (the values, a register's step in place of what it shows), and rolled_...
    (columns of rollups, see `hseie.rollup_columns`).

    Raises FileNotFoundError for an unknown name.
    """
    text = sql("queries", name)
    if kind is None:
        return text
    values = [field.column for field in kind.fields]
    rolled = rolled_columns(kind)
    return text.format(
        kind=kind.name,
        id=kind.id_column,
        columns=", ".join(f'"{column}"' for column in kind.columns),
        values=", ".join(values),
        assignments=", ".join(f"{column} = excluded.{column}" for column in values),
        sums=", ".join(f"coalesce(sum({column}), 0)::text" for column in values),
        partial_sums=", ".join(f"sum({column}) AS {column}" for column in values),
        energy=kind.energy.column,
        given=", ".join(f"${_GIVEN_VALUES + place}::numeric[]" for place in range(len(values))),
        after_given=f"${_GIVEN_VALUES + len(values)}",
        values_as_energy=", ".join(
            _ENERGY_STEP.format(column) if column == kind.energy.column else column for column in values
        ),
        rolled=", ".join(rolled),
        rolled_readings=", ".join(from_readings(kind)),
        rolled_hours=", ".join(from_hours(kind)),
        rolled_old=", ".join(f"old.{column}" for column in rolled),
        rolled_excluded=", ".join(f"excluded.{column}" for column in rolled),
        rolled_assignments=", ".join(f"{column} = excluded.{column}" for column in rolled),
    )


async def connect(url: str, name: str, timeout_s: float, settings: Mapping[str, str] | None = None) -> Any:
    """Open one connection whose session is in UTC, named `name` in pg_stat_activity.

    Raises DatabaseUnavailableError with PostgreSQL's own words when there is none to be had.
    """
    options = {**_SESSION, "application_name": name, **(settings or {})}
    try:
        return await asyncpg.connect(url, timeout=timeout_s, server_settings=options)
    except DATABASE_ERRORS as error:
        raise DatabaseUnavailableError(f"no connection to PostgreSQL: {error or 'timed out'}") from error


async def create_pool(url: str, name: str, size: int, timeout_s: float, settings: Mapping[str, str]) -> Any:
    """Open a pool that connects on first use, so that it can be made while PostgreSQL is away."""
    options = {**_SESSION, "application_name": name, **settings}
    return await asyncpg.create_pool(
        url, min_size=0, max_size=size, timeout=timeout_s, server_settings=options, reset=_as_it_is
    )


async def _as_it_is(_connection: Any) -> None:
    """Take a connection back as it is: the way to the server and back that unlocks, unlistens and resets everything
    takes as long as a small query, and nobody here locks, listens or sets. A transaction left open is rolled back
    before this."""


async def copy_rows(connection: Any, table: str, columns: Sequence[str], pieces: Iterable[bytes]) -> int:
    """Load ready lines of COPY text; return how many rows arrived.

    The caller holds a time-out around it and terminates the connection when it strikes: asyncpg may wait for ever when
    the backend dies while more than its write buffer (512 KiB) is under way.
    """
    status = await connection.copy_to_table(table, columns=columns, source=_as_async(pieces), format="text")
    return int(status.rsplit(" ", 1)[1])


async def within(timeout_s: float, connection: Any, work: Coroutine[Any, Any, T]) -> T:
    """Do `work` with a connection; when it does not end in time, cut the connection and raise TimeoutError.

    A cancellation alone is not enough: asyncpg can wait for ever for a backend that has died or does not answer.
    """
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=timeout_s)
    except asyncio.CancelledError:
        _cut(connection, task)
        raise
    if done:
        return task.result()
    _cut(connection, task)
    await asyncio.wait({task}, timeout=1.0)
    raise TimeoutError(f"PostgreSQL did not answer within {timeout_s:g} s")


def _cut(connection: Any, task: "asyncio.Future[Any]") -> None:
    connection.terminate()
    task.cancel()
    # What the work says to that is no news, and nobody waits for it.
    task.add_done_callback(lambda ended: None if ended.cancelled() else ended.exception())


async def _as_async(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        for start in range(0, len(piece), _COPY_PIECE_BYTES):
            failpoints.reach("flush.in_copy")
            yield piece[start : start + _COPY_PIECE_BYTES]


async def with_connection(
    url: str,
    name: str,
    work: Callable[[Any], Coroutine[Any, Any, T]],
    timeout_s: float = 10.0,
    settings: Mapping[str, str] | None = None,
) -> T:
    """Open a connection, do `work` with it, close it. For commands and one-shot steps."""
    connection = await connect(url, name, timeout_s, settings)
    try:
        return await work(connection)
    finally:
        await close(connection)


async def close(connection: Any, timeout_s: float = 2.0) -> None:
    """Close a connection in any state; one that does not answer is cut off."""
    try:
        async with asyncio.timeout(timeout_s):
            await connection.close(timeout=timeout_s)
    except DATABASE_ERRORS:
        connection.terminate()
