"""Consumes the marks of late readings and of changed pairs: their buckets are made anew."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from hseie import failpoints
from hseie.config import Config
from hseie.database import Record, statement
from hseie.maintenance import rollup_state
from hseie.maintenance.buckets import Buckets, begin
from hseie.maintenance.pairings import Pairings
from hseie.maintenance.raw import RawReadings
from hseie.maintenance.remaking import Remaking
from hseie.maintenance.stretches import Bucket, around
from hseie.readings import KIND_BY_NAME, METER, VEHICLE, Kind
from hseie.registers import is_register

# Marks looked at in one transaction. Each may make three hours of a pair anew.
MARKS_AT_ONCE = 1000
# Marks consumed in one transaction: with those that say the same as one looked at. Not fewer than MARKS_AT_ONCE, so
# that of each hour there is one among them.
IDS_AT_ONCE = 100_000

_PAIR = "pair"


class Marks:
    """Takes marks of hours that are rolled up. Others wait until theirs is: they must not be lost on the way."""

    def __init__(
        self, config: Config, buckets: Buckets, raw: RawReadings, remaking: Remaking, pairings: Pairings
    ) -> None:
        self._device = config.device
        self._margin = 2 * buckets.tolerance
        self._raw = raw
        self._remaking = remaking
        self._pairings = pairings
        self.consumed = 0

    async def consume(self, connection: Any, but_of: Sequence[datetime] = ()) -> int:
        """Consume the oldest marks in one transaction, but none of certain days; return how many, 0 for none left.

        Raises ArchiveUnavailableError.
        """
        async with connection.transaction():
            await begin(connection)
            state = await rollup_state.read(connection)
            marks = await connection.fetch(
                statement("rollup_marks"), state.rolled_until, MARKS_AT_ONCE, but_of, IDS_AT_ONCE
            )
            if not marks:
                return 0
            await self._raw.look(connection)
            # A device that was unknown changes more than it has marked, and nothing else tells of it meanwhile.
            await self._pairings.check_of(connection, {mark["device_id"] for mark in marks})
            hours = await self._device_hours(connection, marks)
            pair_hours = await self._pair_hours(connection, marks, hours)
            await self._remaking.remake(connection, state, hours, pair_hours)
            ids = [number for mark in marks for number in mark["ids"]]
            await connection.execute(statement("rollup_marks_done"), ids)
            failpoints.reach("rollup.before_commit")
        self.consumed += len(ids)
        return len(ids)

    async def _device_hours(self, connection: Any, marks: Sequence[Record]) -> dict[Kind, set[Bucket]]:
        """Return the marked hours of devices, and those in which a register is compared with a reading of them."""
        hours: dict[Kind, set[Bucket]] = defaultdict(set)
        for mark in marks:
            if mark["kind"] != _PAIR:
                hours[KIND_BY_NAME[mark["kind"]]].add(Bucket(mark["device_id"], mark["bucket"]))
        for kind, found in hours.items():
            registers = [hour for hour in found if is_register(kind, hour.device_id, self._device)]
            found |= set(await self._raw.after(connection, kind, registers))
        return hours

    async def _pair_hours(
        self, connection: Any, marks: Sequence[Record], hours: dict[Kind, set[Bucket]]
    ) -> set[Bucket]:
        """Return the hours of vehicles that hold, or are neighbours of, what has changed."""
        changed = set(hours[VEHICLE])
        changed |= {Bucket(mark["device_id"], mark["bucket"]) for mark in marks if mark["kind"] == _PAIR}
        if changed:
            rows = await connection.fetch(
                statement("rollup_vehicles_known"), list({bucket.device_id for bucket in changed})
            )
            known = {row["vehicle_id"] for row in rows}
            changed = {bucket for bucket in changed if bucket.device_id in known}
        changed |= await self._fed(connection, hours[METER])
        return {Bucket(vehicle, near) for vehicle, hour in changed for near in around(hour, self._margin)}

    async def _fed(self, connection: Any, hours: Iterable[Bucket]) -> set[Bucket]:
        """Return the hours of meters as hours of the vehicles that they feed."""
        asked: list[tuple[str, datetime]] = list(hours)
        if not asked:
            return set()
        meters, starts = zip(*asked, strict=True)
        rows = await connection.fetch(statement("rollup_fed_vehicles"), meters, starts, self._margin)
        return {Bucket(row["vehicle_id"], row["bucket"]) for row in rows}
