"""Pairs that come about by ids: a meter or a vehicle that becomes known changes them for the whole past."""

import itertools
from collections.abc import Sequence
from typing import Any

from hseie.database import statement
from hseie.maintenance import rollup_state
from hseie.maintenance.buckets import Buckets, begin
from hseie.maintenance.raw import HOURS_AT_ONCE
from hseie.maintenance.remaking import Remaking
from hseie.maintenance.rolling import vehicles
from hseie.maintenance.stretches import Bucket

_VEHICLES_AT_ONCE = 2000
# Vehicles whose hours are in memory together: with all the hours of a year 90,000.
_CHANGED_AT_ONCE = 10


class Pairings:
    """Compares what the ids say now with what rollups were made with, and makes anew what differs."""

    def __init__(self, buckets: Buckets, remaking: Remaking) -> None:
        self._buckets = buckets
        self._remaking = remaking
        self.changed = 0

    async def check(self, connection: Any) -> None:
        """Make rollups of all vehicles whose meter by id has changed. Raises ArchiveUnavailableError.

        Best before hours are rolled up: then a device that is new has none yet.
        """
        async for some in vehicles(connection, _VEHICLES_AT_ONCE):
            rows = await connection.fetch(statement("pairing_differences"), *self._buckets.candidates(some))
            for start in range(0, len(rows), _CHANGED_AT_ONCE):
                await self._change(connection, rows[start : start + _CHANGED_AT_ONCE])

    async def _change(self, connection: Any, changed: Sequence[Any]) -> None:
        names = [row["vehicle_id"] for row in changed]
        meters = [row["meter_id"] for row in changed]
        state = await rollup_state.read(connection)
        rows = await connection.fetch(statement("pairing_hours"), names, meters, state.rolled_until, state.hours_from)
        hours = iter([Bucket(row["vehicle_id"], row["bucket"]) for row in rows])
        while portion := list(itertools.islice(hours, HOURS_AT_ONCE)):
            async with connection.transaction():
                await begin(connection)
                await self._remaking.remake(connection, await rollup_state.read(connection), {}, portion)
        await connection.execute(statement("pairing_made"), names, meters)
        self.changed += len(names)
