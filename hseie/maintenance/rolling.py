"""Rolls up hours for the first time, in their order: all devices, some at a time."""

import asyncio
import functools
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
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

# The next devices by id, on a connection, after one and not more than so many.
_Following = Callable[[Any, str, int], Awaitable[list[str]]]


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
        """Roll up a span, some devices at a time, on one connection and on the other one, `beside`, if there is one.

        Cut off anywhere, it is begun again. Raises ArchiveUnavailableError.
        """
        portions = _Portions(self._sources(span), self._at_once(span))
        # All are over before one of them is heard of: a connection is not left at work.
        connections = [connection] if beside is None else [connection, beside]
        done = await asyncio.gather(*(portions.work(each) for each in connections), return_exceptions=True)
        for outcome in done:
            if isinstance(outcome, BaseException):
                raise outcome
        if span.ends_day:
            await self._roll_day(connection, day_of(span.start))
        await rollup_state.move(connection, span.end)

    def _sources(self, span: Span) -> list["_Source"]:
        """Return what is to be rolled up of a span; pairs, whose portions take longest, come first."""
        day = span.start.date()
        found: list[_Source] = []
        if all(self._raw.whole(kind, day) for kind in KINDS):
            found.append(_Source(_next_vehicles, self._buckets.make_pair_hours, span))
        for kind in KINDS:
            if self._raw.whole(kind, day):
                devices = functools.partial(_next_devices, kind=kind, since=span.start)
                found.append(_Source(devices, functools.partial(self._make_hours, kind), span))
        return found

    async def _make_hours(self, kind: Kind, connection: Any, stretches: Sequence[Stretch]) -> None:
        await self._buckets.make_hours(connection, kind, stretches)

    def _at_once(self, span: Span) -> int:
        """Return how many devices to read together."""
        return self._raw.hours_at_once(span.start, span.end) // ((span.end - span.start) // HOUR)

    async def _roll_day(self, connection: Any, day: datetime) -> None:
        """Make a day from its hours."""
        for kind in KINDS:
            following = functools.partial(_next_devices, kind=kind, since=day)
            async for devices in _all(following, connection, HOURS_AT_ONCE // DAY_HOURS):
                async with connection.transaction():
                    await begin(connection)
                    await self._buckets.make_days(connection, kind, [Bucket(device, day) for device in devices])
        async for some in vehicles(connection, HOURS_AT_ONCE // DAY_HOURS):
            async with connection.transaction():
                await begin(connection)
                await self._buckets.make_pair_days(connection, [Bucket(vehicle, day) for vehicle in some])


@dataclass(frozen=True)
class _Source:
    """Devices to be rolled up: how the next of them are found, and how their stretches are made."""

    following: _Following
    make: Callable[[Any, Sequence[Stretch]], Awaitable[None]]
    span: Span


class _Portions:
    """Portions of some sources, one after the other, for as many connections as work on them at once."""

    def __init__(self, sources: Iterable[_Source], at_once: int) -> None:
        self._sources = deque(sources)
        self._at_once = at_once
        self._after = ""
        self._looking = asyncio.Lock()
        self._failed = False

    async def work(self, connection: Any) -> None:
        """Make portions until there is none left. After one has failed, nobody begins another."""
        try:
            while (portion := await self._next(connection)) is not None:
                source, devices = portion
                stretches = [Stretch(device, source.span.start, source.span.end) for device in devices]
                async with connection.transaction():
                    await begin_beside(connection)
                    await source.make(connection, stretches)
                failpoints.reach("rollup.portion")
        except BaseException:
            self._failed = True
            raise

    async def _next(self, connection: Any) -> tuple[_Source, list[str]] | None:
        async with self._looking:
            while self._sources and not self._failed:
                source = self._sources[0]
                devices = await source.following(connection, self._after, self._at_once)
                if len(devices) == self._at_once:
                    self._after = devices[-1]
                else:
                    self._sources.popleft()
                    self._after = ""
                if devices and not self._failed:
                    return source, devices
        return None


async def _next_devices(connection: Any, after: str, at_once: int, *, kind: Kind, since: datetime) -> list[str]:
    """Return the next devices of a kind, by id, that have sent anything since a time."""
    rows = await connection.fetch(statement("rollup_devices", kind), after, since, at_once)
    return [row["device_id"] for row in rows]


async def _next_vehicles(connection: Any, after: str, at_once: int) -> list[str]:
    """Return the next vehicles: all, for of a silent one the meter may send on."""
    rows = await connection.fetch(statement("rollup_vehicles"), after, at_once)
    return [row["vehicle_id"] for row in rows]


async def _all(following: _Following, connection: Any, at_once: int) -> AsyncIterator[list[str]]:
    """Yield devices, some at a time."""
    after: str | None = ""
    while after is not None:
        devices = await following(connection, after, at_once)
        if devices:
            yield devices
        after = devices[-1] if len(devices) == at_once else None


def vehicles(connection: Any, at_once: int) -> AsyncIterator[list[str]]:
    """Yield all vehicles, some at a time."""
    return _all(_next_vehicles, connection, at_once)
