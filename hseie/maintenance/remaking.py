"""Makes single buckets anew, with all that is made from them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from hseie.maintenance.buckets import Buckets
from hseie.maintenance.raw import RawReadings
from hseie.maintenance.rollup_state import State
from hseie.maintenance.stretches import (
    HOUR,
    Bucket,
    Stretch,
    day_of,
    days_within,
    hours_of_day,
    in_portions,
    stretches,
)
from hseie.readings import KINDS, Kind

NO_TIME = timedelta()


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
            found = self._makeable([kind], state, hours.get(kind, ()), NO_TIME)
            for portion in self._portions(found):
                await self._buckets.make_hours(connection, kind, portion)
            await self._buckets.make_days(connection, kind, _days(found, state))
        # Readings are paired across midnight: the hour beside it needs both days.
        found = self._makeable(KINDS, state, pair_hours, 2 * self._buckets.tolerance)
        for portion in self._portions(found):
            await self._buckets.make_pair_hours(connection, portion)
        await self._buckets.make_pair_days(connection, _days(found, state))

    def _portions(self, found: Sequence[Stretch]) -> Iterator[list[Stretch]]:
        if not found:
            return iter(())
        start, end = min(stretch.starts for stretch in found), max(stretch.ends for stretch in found)
        return in_portions(found, self._raw.hours_at_once(start, end))

    def _makeable(
        self, kinds: Iterable[Kind], state: State, buckets: Iterable[Bucket], margin: timedelta
    ) -> list[Stretch]:
        """Return what can be made: all that is read for it, up to `margin` beside it, is there."""
        wanted = {bucket for bucket in buckets if bucket.start < state.rolled_until}
        hours = {bucket: _hours(bucket.start, state) for bucket in wanted}
        whole = {
            bucket
            for bucket in wanted
            if all(
                self._raw.whole(kind, day)
                for kind in kinds
                for day in days_within(hours[bucket][0] - margin, hours[bucket][-1] + HOUR + margin)
            )
        }
        self.hours += len(whole)
        self.left += len(wanted) - len(whole)
        return stretches(Bucket(bucket.device_id, hour) for bucket in whole for hour in hours[bucket])


def _hours(hour: datetime, state: State) -> list[datetime]:
    """Return the hours, in order, to be made for one: a day is made from all, which are not kept for ever."""
    return hours_of_day(day_of(hour)) if hour < state.hours_from else [hour]


def _days(found: Iterable[Stretch], state: State) -> list[Bucket]:
    """Return the days of stretches that are rolled up already."""
    days: set[tuple[str, datetime]] = {(stretch.device_id, day_of(stretch.starts)) for stretch in found}
    return [Bucket(device, day) for device, day in sorted(days) if day < state.days_until]
