"""Makes rollups of single buckets from readings: hours of devices and pairs, and days from hours.

Each step is a statement that replaces what is there, so that it may be done again, inside a transaction that began with
`begin`. What it makes is what readings say that were committed before the statement.
"""

import itertools
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from hseie.config import Config
from hseie.database import statement
from hseie.maintenance.raw import RawReadings
from hseie.maintenance.stretches import Bucket, Stretch
from hseie.pairing import Given, Piece, Segment, Window, candidate_pairs, candidates, meeting_arguments, pieces
from hseie.readings import METER, VEHICLE, Kind
from hseie.registers import is_register, power_max_kw


async def begin(connection: Any) -> None:
    """Begin to change rollups, in a transaction just started: nobody else does until its end."""
    await connection.execute(statement("rollup_begin"))


async def begin_beside(connection: Any) -> None:
    """Begin to make hours for the first time, in a transaction just started: nobody makes any anew until its end."""
    await connection.execute(statement("rollup_begin_beside"))


class Buckets:
    """Makes rollups with one configuration."""

    def __init__(self, config: Config, raw: RawReadings) -> None:
        self._device = config.device
        self._analytics = config.analytics
        self._raw = raw
        self.tolerance = timedelta(seconds=config.analytics.correlation_window_s)

    async def make_hours(self, connection: Any, kind: Kind, found: Sequence[Stretch]) -> None:
        """Make the hours of devices in stretches that do not overlap. Raises ArchiveUnavailableError."""
        if not found:
            return
        registers = [is_register(kind, stretch.device_id, self._device) for stretch in found]
        start, end = min(stretch.starts for stretch in found), max(stretch.ends for stretch in found)
        given = await self._raw.archived(connection, kind, {stretch.device_id for stretch in found}, start, end)
        compared = [stretch for stretch, register in zip(found, registers, strict=True) if register]
        given += await self._raw.before(connection, kind, compared)
        columns = list(zip(*given, strict=True)) or [()] * (3 + len(kind.fields))
        arguments = [
            [stretch.device_id for stretch in found],
            [stretch.starts for stretch in found],
            [stretch.ends for stretch in found],
            registers,
            start,
            end,
            power_max_kw(self._device),
            *columns,
        ]
        await connection.execute(statement("rollup_hours", kind), *arguments)
        if compared:
            await connection.execute(statement("rollup_events", kind), *arguments)

    async def make_days(self, connection: Any, kind: Kind, found: Sequence[Bucket]) -> None:
        """Make the days of devices from their hours."""
        if found:
            devices, days = zip(*found, strict=True)
            await connection.execute(statement("rollup_days", kind), devices, days)

    async def make_pair_hours(self, connection: Any, found: Sequence[Stretch]) -> None:
        """Make the hours of vehicles with their meters, in stretches that do not overlap.

        Raises ArchiveUnavailableError.
        """
        if not found:
            return
        segments = await self._segments(connection, found)
        counted = [
            piece
            for stretch in found
            for piece in pieces(segments[stretch.device_id], Window(stretch.starts, stretch.ends, self.tolerance))
        ]
        await connection.execute(
            statement("rollup_pair_hours"),
            *meeting_arguments(counted, self.tolerance, self._device, await self._given(connection, counted)),
            *zip(*found, strict=True),
        )

    async def make_pair_days(self, connection: Any, found: Sequence[Bucket]) -> None:
        """Make the days of vehicles with their meters from their hours."""
        if found:
            vehicles, days = zip(*found, strict=True)
            await connection.execute(statement("rollup_pair_days"), vehicles, days)

    def candidates(self, vehicles: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return vehicles and the meters that may feed them by their ids, beside each other, the preferred first."""
        return candidate_pairs(vehicles, self._analytics.vehicle_prefix, self._analytics.meter_prefix)

    def candidates_of(self, devices: Iterable[str]) -> list[str]:
        """Return the vehicles that have one of these ids, or may be fed by a meter that has one."""
        prefixes = self._analytics.meter_prefix, self._analytics.vehicle_prefix
        return sorted({vehicle for device in devices for vehicle in candidates(device, *prefixes)})

    async def _segments(self, connection: Any, found: Sequence[Stretch]) -> dict[str, list[Segment]]:
        window = Window(
            min(stretch.starts for stretch in found), max(stretch.ends for stretch in found), self.tolerance
        )
        vehicles = list(dict.fromkeys(stretch.device_id for stretch in found))
        rows = await connection.fetch(
            statement("performance_segments"), *self.candidates(vehicles), window.read_start, window.read_end
        )
        segments = [Segment(**row) for row in rows]
        return {vehicle: list(own) for vehicle, own in itertools.groupby(segments, lambda own: own.vehicle_id)}

    async def _given(self, connection: Any, counted: Sequence[Piece]) -> list[Given]:
        """Return what has to be known besides history: readings in the archive, and those before registers."""
        given = []
        for kind in (METER, VEHICLE):
            reads = [
                Stretch(device, piece.starts, piece.ends)
                for piece in counted
                if (device := piece.meter_id if kind is METER else piece.vehicle_id) is not None
            ]
            if not reads:
                continue
            registers = [read for read in reads if is_register(kind, read.device_id, self._device)]
            rows = await self._raw.archived(
                connection, kind, {read.device_id for read in reads}, *_span(reads)
            ) + await self._raw.before(connection, kind, registers)
            given += [Given.of(kind, row) for row in rows]
        return given


def _span(reads: Sequence[Stretch]) -> tuple[datetime, datetime]:
    return min(read.starts for read in reads), max(read.ends for read in reads)
