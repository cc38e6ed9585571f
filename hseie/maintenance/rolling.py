"""Rolls up hours for the first time, in their order: all devices, some at a time."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hseie import failpoints
from hseie.database import statement
from hseie.maintenance import rollup_state
from hseie.maintenance.buckets import Buckets, begin, begin_beside
from hseie.maintenance.raw import HOURS_AT_ONCE, RawReadings
from hseie.maintenance.stretches import DAY, DAY_HOURS, HOUR, Bucket, Stretch, day_of, day_start
from hseie.readings import KINDS, Kind


@dataclass(frozen=True)
class Span:
    """Hours on end within one UTC day, half-open."""

    start: datetime
    end: datetime

    @property
    def ends_day(self) -> bool:
        return day_of(self.end) == self.end


class Rolling:
    """Brings rollups up to the last closed hour."""

    def __init__(self, buckets: Buckets, raw: RawReadings) -> None:
        self._buckets = buckets
        self._raw = raw

    async def next_span(self, connection: Any) -> Span | None:
        """Return what is to be rolled up next, up to the end of its day; None where all is.

        What has no readings is passed by: a fresh database, a gap of months.
        """
        async with connection.transaction():
            await begin(connection)
            state = await rollup_state.read(connection)
            if state.rolled_until >= state.closed_until:
                return None
            await self._raw.look(connection)
            day = await self._raw.next_day(connection, state.rolled_until.date(), state.closed_until)
            if day is None:
                await connection.execute(statement("rollup_move"), state.closed_until)
                return None
            start = max(day_start(day), state.rolled_until)
            await connection.execute(statement("rollup_move"), start)
            return Span(start, min(day_start(day) + DAY, state.closed_until))

    async def roll(self, connection: Any, beside: Any, span: Span) -> None:
        """Roll up a span: devices on one connection, pairs on the other meanwhile, or afterwards where there is none.

        Cut off anywhere, it is begun again. Raises ArchiveUnavailableError.
        """
        if beside is None:
            await self._roll_devices(connection, span)
            await self._roll_pairs(connection, span)
        else:
            # Both are over before one of them is heard of: a connection is not left at work.
            done = await asyncio.gather(
                self._roll_devices(connection, span), self._roll_pairs(beside, span), return_exceptions=True
            )
            for outcome in done:
                if isinstance(outcome, BaseException):
                    raise outcome
        if span.ends_day:
            await self._roll_day(connection, day_of(span.start))
        await rollup_state.move(connection, span.end)

    async def _roll_devices(self, connection: Any, span: Span) -> None:
        for kind in KINDS:
            if not self._raw.whole(kind, span.start.date()):
                continue
            async for devices in _devices(connection, kind, span.start, self._at_once(span)):
                stretches = [Stretch(device, span.start, span.end) for device in devices]
                async with connection.transaction():
                    await begin_beside(connection)
                    await self._buckets.make_hours(connection, kind, stretches)
                failpoints.reach("rollup.portion")

    async def _roll_pairs(self, connection: Any, span: Span) -> None:
        if not all(self._raw.whole(kind, span.start.date()) for kind in KINDS):
            return
        async for some in vehicles(connection, self._at_once(span)):
            stretches = [Stretch(vehicle, span.start, span.end) for vehicle in some]
            async with connection.transaction():
                await begin_beside(connection)
                await self._buckets.make_pair_hours(connection, stretches)
            failpoints.reach("rollup.portion")

    def _at_once(self, span: Span) -> int:
        """Return how many devices to read together."""
        return self._raw.hours_at_once(span.start, span.end) // ((span.end - span.start) // HOUR)

    async def _roll_day(self, connection: Any, day: datetime) -> None:
        """Make a day from its hours."""
        for kind in KINDS:
            async for devices in _devices(connection, kind, day, HOURS_AT_ONCE // DAY_HOURS):
                async with connection.transaction():
                    await begin(connection)
                    await self._buckets.make_days(connection, kind, [Bucket(device, day) for device in devices])
        async for some in vehicles(connection, HOURS_AT_ONCE // DAY_HOURS):
            async with connection.transaction():
                await begin(connection)
                await self._buckets.make_pair_days(connection, [Bucket(vehicle, day) for vehicle in some])


async def _devices(connection: Any, kind: Kind, since: datetime, at_once: int) -> AsyncIterator[list[str]]:
    """Yield the devices of a kind that have sent anything since a time."""
    after = ""
    while True:
        rows = await connection.fetch(statement("rollup_devices", kind), after, since, at_once)
        if rows:
            yield [row["device_id"] for row in rows]
        if len(rows) < at_once:
            return
        after = rows[-1]["device_id"]


async def vehicles(connection: Any, at_once: int) -> AsyncIterator[list[str]]:
    """Yield all vehicles: of a silent one the meter may send on."""
    after = ""
    while True:
        rows = await connection.fetch(statement("rollup_vehicles"), after, at_once)
        if rows:
            yield [row["vehicle_id"] for row in rows]
        if len(rows) < at_once:
            return
        after = rows[-1]["vehicle_id"]
