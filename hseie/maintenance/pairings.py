"""Pairs that come about by ids: a meter or a vehicle that becomes known changes them for the whole past."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from hseie.database import statement
from hseie.errors import ArchiveUnavailableError
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
    """Compares what the ids say now with what rollups were made with, and makes anew what differs.

    Where that needs files of the archive that cannot be read, pairs stay as they are, and are not said to be made:
    readers see that, and do not use them. `missing` tells why, until somebody takes note of it.
    """

    def __init__(self, buckets: Buckets, remaking: Remaking) -> None:
        self._buckets = buckets
        self._remaking = remaking
        self.changed = 0
        self.missing: ArchiveUnavailableError | None = None

    async def check(self, connection: Any) -> None:
        """Make rollups of all vehicles whose meter by id has changed.

        Best before hours are rolled up: then a device that is new has none yet.
        """
        async for some in vehicles(connection, _VEHICLES_AT_ONCE):
            await self._change(connection, await self._differences(connection, some))

    async def check_of(self, connection: Any, devices: Iterable[str]) -> None:
        """Do the same for the vehicles of these ids, and for those that meters of these ids may feed."""
        names = self._buckets.candidates_of(devices)
        known = await connection.fetch(statement("rollup_vehicles_known"), names)
        differences = await self._differences(connection, [row["vehicle_id"] for row in known])
        await self._change(connection, differences)

    async def _differences(self, connection: Any, names: Sequence[str]) -> Sequence[Any]:
        found: Sequence[Any] = await connection.fetch(
            statement("pairing_differences"), *self._buckets.candidates(names)
        )
        return found

    async def _change(self, connection: Any, changed: Sequence[Any]) -> None:
        for start in range(0, len(changed), _CHANGED_AT_ONCE):
            some = changed[start : start + _CHANGED_AT_ONCE]
            try:
                await self._make(connection, some)
            except ArchiveUnavailableError as error:
                self.missing = error

    async def _make(self, connection: Any, changed: Sequence[Any]) -> None:
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
