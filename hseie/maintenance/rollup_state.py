"""How far rollups are, and with which settings they are made."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from hseie import failpoints
from hseie.database import statement
from hseie.maintenance.buckets import begin
from hseie.maintenance.stretches import NEVER, hour_of


@dataclass(frozen=True)
class State:
    """The row of rollup_state; NEVER where nothing is closed, rolled up or removed yet."""

    closed_until: datetime
    rolled_until: datetime
    settings: str
    hours_from: datetime
    days_from: datetime

    @property
    def days_until(self) -> datetime:
        """Before which UTC day all are rolled up."""
        return NEVER if self.rolled_until == NEVER else self.rolled_until.replace(hour=0)


def last_closable(now: datetime, lag: timedelta) -> datetime:
    """Return the end of the last hour that ended at least `lag` before the aware moment `now`."""
    return hour_of(now - lag)


async def read(connection: Any) -> State:
    """Return the state."""
    row = await connection.fetchrow(statement("rollup_state"))
    return State(**{name: _aware(value) for name, value in row.items()})


# Flushes wait behind whoever waits for them all; they must not notice.
CLOSING_TIMEOUT_MS = 250


async def close(connection: Any, until: datetime) -> None:
    """Close all hours before `until`. Raises what PostgreSQL raises where a flush holds its lock for too long."""
    async with connection.transaction():
        await _keep_flushes_out(connection)
        await connection.execute(statement("rollup_close"), until)
    failpoints.reach("rollup.closed")


async def reopen(connection: Any, since: datetime) -> None:
    """Take back that hours from `since` on are closed and rolled up. Raises as `close`."""
    async with connection.transaction():
        await _keep_flushes_out(connection)
        await begin(connection)
        await connection.execute(statement("rollup_reopen"), since)


async def move(connection: Any, until: datetime) -> None:
    """Note that rollups are there for all hours before `until`."""
    async with connection.transaction():
        await begin(connection)
        await connection.execute(statement("rollup_move"), until)


async def remake_from(connection: Any, start: datetime, settings: str, margin: timedelta) -> None:
    """Have all made anew from `start` on, with other settings. Raises as `close`."""
    async with connection.transaction():
        await _keep_flushes_out(connection)
        await begin(connection)
        await connection.execute(statement("rollup_remake"), settings, start, margin)
        await connection.execute(statement("pairing_forget"))


async def _keep_flushes_out(connection: Any) -> None:
    await connection.execute(statement("archive_lock_timeout"), str(CLOSING_TIMEOUT_MS))
    await connection.execute(statement("rollup_closing_lock"))


def _aware(value: Any) -> Any:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value
