"""Makes single buckets anew, with all that is made from them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from hseie.maintenance.buckets import Buckets
from hseie.maintenance.raw import RawReadings
from hseie.maintenance.rollup_state import State
from hseie.maintenance.stretches import Bucket, Stretch, day_of, hours_of_day, in_portions, stretches
from hseie.readings import KINDS, Kind


class Remaking:
    """Makes hours anew, and the days they belong to; leaves alone what has no readings any more."""

    def __init__(self, buckets: Buckets, raw: RawReadings) -> None:
        self._buckets = buckets
        self._raw = raw
        self.hours = 0  # made anew, of devices and pairs
        self.left = 0  # left as they were, because their readings have been given up

    async def remake(
        self, connection: Any, state: State, hours: Mapping[Kind, Iterable[Bucket]], pair_hours: Iterable[Bucket]
    ) -> None:
        """Make hours of devices and of vehicles with their meters, of those that are rolled up already.

        In a transaction that has begun with `begin`. Raises ArchiveUnavailableError.
        """
        for kind in KINDS:
            found = self._makeable([kind], state, hours.get(kind, ()))
            for portion in self._portions(found):
                await self._buckets.make_hours(connection, kind, portion)
            await self._buckets.make_days(connection, kind, _days(found, state))
        found = self._makeable(KINDS, state, pair_hours)
        for portion in self._portions(found):
            await self._buckets.make_pair_hours(connection, portion)
        await self._buckets.make_pair_days(connection, _days(found, state))

    def _portions(self, found: Sequence[Stretch]) -> Iterator[list[Stretch]]:
        if not found:
            return iter(())
        start, end = min(stretch.starts for stretch in found), max(stretch.ends for stretch in found)
        return in_portions(found, self._raw.hours_at_once(start, end))

    def _makeable(self, kinds: Iterable[Kind], state: State, buckets: Iterable[Bucket]) -> list[Stretch]:
        wanted = {bucket for bucket in buckets if bucket.start < state.rolled_until}
        whole = {bucket for bucket in wanted if all(self._raw.whole(kind, bucket.start.date()) for kind in kinds)}
        self.hours += len(whole)
        self.left += len(wanted) - len(whole)
        # A day is made from all its hours; where they are not kept any more, they are made for it once again.
        return stretches(
            Bucket(bucket.device_id, hour)
            for bucket in whole
            for hour in (hours_of_day(day_of(bucket.start)) if bucket.start < state.hours_from else [bucket.start])
        )


def _days(found: Iterable[Stretch], state: State) -> list[Bucket]:
    """Return the days of stretches that are rolled up already."""
    days: set[tuple[str, datetime]] = {(stretch.device_id, day_of(stretch.starts)) for stretch in found}
    return [Bucket(device, day) for device, day in sorted(days) if day < state.days_until]
