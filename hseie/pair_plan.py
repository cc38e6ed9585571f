"""Rules of re-pairing: what becomes of the rows of `device_pair` when one is set, ended or removed. Pure.

A change at a time t leaves everything before t as it was, and a row that has ended is never changed:

- A new pairing ends, at its start, the one that runs for its vehicle then; and the one of another vehicle that its
  meter fed until then, since a meter feeds one vehicle at a time. What is cut off there does not come back when the new
  one ends.
- A row of its vehicle that has not ended and begins no earlier than the new one gives way to it as a whole, if it has
  begun already or begins at the same time: that is how a mistake is put right while it runs.
- Whatever else overlaps is a conflict: a row that has ended, one that is planned to begin later, and one of another
  vehicle that begins no earlier.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hseie.errors import HseieError
from hseie.pair_request import InvalidPairError, Wanted
from hseie.problems import ErrorItem

_NEVER = datetime.max.replace(tzinfo=UTC)


class PairConflictError(HseieError):
    """A pairing cannot be changed so, because of another one. Nothing was changed."""


class UnknownPairError(HseieError):
    """There is no such pairing to end or to remove."""


class ForeignDeviceError(HseieError):
    """A device whose pairing would change is none that the asker may speak for. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A row of `device_pair`: `meter_id` feeds `vehicle_id` (None: nobody does) from `valid_from` until `valid_to`."""

    vehicle_id: str
    meter_id: str | None
    valid_from: datetime
    valid_to: datetime | None = None

    @property
    def key(self) -> tuple[str, datetime]:
        return self.vehicle_id, self.valid_from

    @property
    def end(self) -> datetime:
        return self.valid_to or _NEVER

    def has_ended(self, now: datetime) -> bool:
        return self.end <= now

    def runs(self, now: datetime) -> bool:
        return self.valid_from <= now < self.end

    def overlaps(self, other: "Pair") -> bool:
        return self.valid_from < other.end and other.valid_from < self.end


@dataclass
class Change:
    """What a change did: `pair` as it is now, rows that now `ended` earlier, and rows that were `removed`."""

    pair: Pair
    ended: list[Pair] = field(default_factory=list)
    removed: list[Pair] = field(default_factory=list)
    changed: bool = True


@dataclass(frozen=True)
class Difference:
    """From rows as they were read to rows as they shall be."""

    deleted: list[Pair]
    shortened: list[Pair]  # as they shall be
    inserted: list[Pair]
    # Vehicles whose pairing changes by these rows, meters that come and go with them, and from when until when.
    spans: list[tuple[Pair, datetime, datetime]]


class Plan:
    """Rows of the devices concerned, as they were read, and changed in memory. `now` is the moment of all changes."""

    def __init__(
        self, rows: Iterable[Pair], now: datetime, past_max: timedelta, may_touch: Callable[[str], bool] | None = None
    ) -> None:
        """Nothing may be changed before `now` less `past_max`, where there are no readings.

        `may_touch` tells of a device whether the asker may speak for it; without it he may for all.
        """
        self.now = now
        self._past_max = past_max
        self._may_touch = may_touch
        self._before = {row.key: row for row in rows}
        self._of_vehicle: dict[str, dict[tuple[str, datetime], Pair]] = defaultdict(dict)
        self._of_meter: dict[str, dict[tuple[str, datetime], Pair]] = defaultdict(dict)
        for row in self._before.values():
            self._put(row)

    def set(self, asked: Wanted) -> Change:
        """Add a row, and end or remove those that have to give way to it.

        Where it is so already, nothing changes: the same may be asked for again. Raises InvalidPairError,
        PairConflictError and ForeignDeviceError.
        """
        wanted = Pair(asked.vehicle_id, asked.meter_id, asked.valid_from or self.now, asked.valid_to)
        self._touch(wanted)
        if self.find(wanted.key) == wanted:  # however old it is
            return Change(wanted, changed=False)
        self._check_moment(wanted.valid_from, "/validFrom")
        if wanted.end <= wanted.valid_from:
            raise _at_a_wrong_time("/validTo", "must lie after the start, which is now where none is given")
        own = [row for row in self._of_vehicle[wanted.vehicle_id].values() if row.overlaps(wanted)]
        if len(own) == 1 and _says(own[0], wanted):
            return Change(own[0], changed=False)
        others = [row for row in self._others(wanted) if row.overlaps(wanted)]
        for row in (*own, *others):
            self._touch(row)
        self._check_conflicts(wanted, own, others)
        change = Change(wanted)
        for row in (*own, *others):
            self._take(row)
            if row.valid_from < wanted.valid_from:
                change.ended.append(self._put(replace(row, valid_to=wanted.valid_from)))
            else:
                change.removed.append(row)
        self._put(wanted)
        return change

    def _check_conflicts(self, wanted: Pair, own: Sequence[Pair], others: Sequence[Pair]) -> None:
        """`own` and `others` overlap `wanted`: rows of its vehicle, and of its meter with other vehicles."""
        for row in (*own, *others):
            if row.has_ended(self.now):
                raise PairConflictError(f"{_named(row, wanted)}: a pairing that has ended is not changed")
        for row in own:
            if row.valid_from > max(wanted.valid_from, self.now):
                raise PairConflictError(f"{_named(row, wanted)}: remove that first, or let this one end before")
        for row in others:
            if row.valid_from >= wanted.valid_from:
                raise PairConflictError(f"{_named(row, wanted)}: end or remove that first")

    def end(self, vehicle_id: str, at: datetime | None) -> Change:
        """End the row that runs, at a time, None: now. One that would end where it begins is removed.

        Raises UnknownPairError, PairConflictError, ForeignDeviceError and InvalidPairError.
        """
        running = [row for row in self._of_vehicle[vehicle_id].values() if row.runs(self.now)]
        if not running:
            raise UnknownPairError("no pairing of this vehicle runs")
        row = max(running, key=lambda row: row.valid_from)
        self._touch(row)
        moment = at or self.now
        self._check_moment(moment, "/at")
        if moment == row.valid_to:
            return Change(row, changed=False)
        if moment < row.valid_from:
            raise PairConflictError(f"it began at {_text(row.valid_from)}, after that")
        if moment > row.end:
            raise PairConflictError(f"it ends at {_text(row.end)} already; set it anew for longer")
        self._take(row)
        if moment == row.valid_from:
            return Change(row, removed=[row])
        ended = self._put(replace(row, valid_to=moment))
        return Change(ended, ended=[ended])

    def remove(self, vehicle_id: str, valid_from: datetime) -> Change:
        """Remove a row that has not begun. Raises UnknownPairError, PairConflictError and ForeignDeviceError."""
        row = self._of_vehicle[vehicle_id].get((vehicle_id, valid_from))
        if row is None:
            raise UnknownPairError("no pairing of this vehicle begins then")
        self._touch(row)
        if row.valid_from <= self.now:
            raise PairConflictError("it has begun: end it instead")
        return Change(row, removed=[self._take(row)])

    def find(self, key: tuple[str, datetime]) -> Pair | None:
        """Return the row of a vehicle that begins at a time, as it is by now."""
        return self._of_vehicle[key[0]].get(key)

    def difference(self) -> Difference:
        """Return what has to be done to the table."""
        after = {key: row for rows in self._of_vehicle.values() for key, row in rows.items()}
        found = Difference([], [], [], [])
        for key in self._before.keys() | after.keys():
            old, new = self._before.get(key), after.get(key)
            if old == new:
                continue
            if old is not None and new is not None and old.meter_id == new.meter_id:
                found.shortened.append(new)
                found.spans.append((new, min(old.end, new.end), max(old.end, new.end)))
                continue
            if old is not None:
                found.deleted.append(old)
                found.spans.append((old, old.valid_from, old.end))
            if new is not None:
                found.inserted.append(new)
                found.spans.append((new, new.valid_from, new.end))
        return found

    def _check_moment(self, moment: datetime, pointer: str) -> None:
        if moment < self.now - self._past_max:
            raise _at_a_wrong_time(pointer, f"must not lie further back than readings may, {self._past_max.days} days")

    def _others(self, wanted: Pair) -> Iterator[Pair]:
        """Rows that give the meter to other vehicles."""
        if wanted.meter_id is not None:
            yield from (row for row in self._of_meter[wanted.meter_id].values() if row.vehicle_id != wanted.vehicle_id)

    def _put(self, row: Pair) -> Pair:
        self._of_vehicle[row.vehicle_id][row.key] = row
        if row.meter_id is not None:
            self._of_meter[row.meter_id][row.key] = row
        return row

    def _take(self, row: Pair) -> Pair:
        del self._of_vehicle[row.vehicle_id][row.key]
        if row.meter_id is not None:
            del self._of_meter[row.meter_id][row.key]
        return row

    def _touch(self, row: Pair) -> None:
        if self._may_touch is not None:
            for device in (row.vehicle_id, row.meter_id):
                if device is not None and not self._may_touch(device):
                    raise ForeignDeviceError("a pairing of another device would change")


def _at_a_wrong_time(pointer: str, why: str) -> InvalidPairError:
    return InvalidPairError([ErrorItem("timestamp_out_of_range", why, pointer)])


def _says(row: Pair, wanted: Pair) -> bool:
    """Whether a row says already what is wanted from its start on."""
    return row.meter_id == wanted.meter_id and row.valid_from <= wanted.valid_from and row.valid_to == wanted.valid_to


def _named(row: Pair, wanted: Pair) -> str:
    """Say what a row says; what the asker has sent himself is not repeated."""
    until = f"until {_text(row.valid_to)}" if row.valid_to is not None else "without an end"
    span = f"from {_text(row.valid_from)} {until}"
    if row.vehicle_id != wanted.vehicle_id:
        return f"the meter feeds {row.vehicle_id} {span}"
    meter = "no meter" if row.meter_id is None else "this meter" if row.meter_id == wanted.meter_id else row.meter_id
    return f"the vehicle is fed by {meter} {span}"


def _text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
