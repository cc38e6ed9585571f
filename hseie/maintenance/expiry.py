"""Deletes rollups that are older than they are kept, some rows at a time."""

import time
from datetime import datetime, timedelta
from typing import Any

from hseie.config import Retention
from hseie.database import statement
from hseie.maintenance import rollup_state
from hseie.maintenance.buckets import begin
from hseie.maintenance.rollup_state import State
from hseie.maintenance.stretches import NEVER, day_of
from hseie.readings import KINDS

ROWS_AT_ONCE = 10_000


class Expiry:
    """Says first that old rollups are not to be read any more, and then deletes them."""

    def __init__(self, retention: Retention) -> None:
        self._retention = retention
        self.deleted = 0

    async def expire(self, connection: Any, now: datetime, within_s: float) -> bool:
        """Delete for a while what is too old at the aware moment `now`; return whether there is more."""
        state = await rollup_state.read(connection)
        hours_from = max(state.hours_from, _first_kept(now, self._retention.hourly_days, state))
        days_from = max(state.days_from, _first_kept(now, self._retention.daily_days, state))
        if (hours_from, days_from) != (state.hours_from, state.days_from):
            async with connection.transaction():
                await begin(connection)
                await connection.execute(statement("rollup_expired"), hours_from, days_from)
        started = time.monotonic()
        for text, before in _deletions(hours_from, days_from):
            while await self._delete(connection, text, before) == ROWS_AT_ONCE:
                if time.monotonic() - started > within_s:
                    return True
        return False

    async def _delete(self, connection: Any, text: str, before: datetime) -> int:
        async with connection.transaction():
            await begin(connection)
            status = await connection.execute(text, before, ROWS_AT_ONCE)
        deleted = int(status.rsplit(" ", 1)[1])
        self.deleted += deleted
        return deleted


def _first_kept(now: datetime, days: int, state: State) -> datetime:
    """Return the first UTC day that is kept. Hours are kept at least until their day is made of them."""
    return min(day_of(now) - timedelta(days=days), state.days_until) if days else NEVER


def _deletions(hours_from: datetime, days_from: datetime) -> list[tuple[str, datetime]]:
    hours = [statement("rollup_hours_delete", kind) for kind in KINDS]
    hours += [statement("rollup_pair_hours_delete"), statement("rollup_events_delete")]
    days = [*(statement("rollup_days_delete", kind) for kind in KINDS), statement("rollup_pair_days_delete")]
    return [
        *((text, hours_from) for text in hours if hours_from > NEVER),
        *((text, days_from) for text in days if days_from > NEVER),
    ]
