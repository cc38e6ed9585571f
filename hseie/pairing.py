"""Which meter may feed a vehicle, and what is read to correlate them: in pieces, as parts/meeting.sql takes it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from hseie.config import Device
from hseie.readings import METER, VEHICLE, Kind, is_device_id
from hseie.registers import is_register, power_max_kw

PLAIN = 11
_NEVER = datetime(2000, 1, 1, tzinfo=UTC)  # read from here to here where there is no piece


@dataclass(frozen=True)
class Window:
    """A half-open range of time, and what has to be read to correlate exactly what lies in it."""

    start: datetime
    end: datetime
    tolerance: timedelta

    # Whether a reading is taken depends on its neighbour (one tolerance away) and on that one's neighbours.
    @property
    def read_start(self) -> datetime:
        return self.start - 2 * self.tolerance

    @property
    def read_end(self) -> datetime:
        return self.end + 2 * self.tolerance


@dataclass(frozen=True)
class Segment:
    """For a stretch of time, the meter that feeds a vehicle; None where none is known."""

    vehicle_id: str
    meter_id: str | None
    starts: datetime
    ends: datetime


@dataclass(frozen=True)
class Piece:
    """A part of a segment: what may be read and paired for it, [starts, ends), and what of that is counted."""

    vehicle_id: str
    meter_id: str | None
    starts: datetime
    ends: datetime
    counts_from: datetime
    counts_until: datetime


class Given(NamedTuple):
    """A reading that is handed to a statement, because it is not (or not by that statement) read from history."""

    device_id: str
    ac: bool  # a meter's
    at: datetime
    id: int
    kwh: Decimal
    battery_temp: Decimal | None  # of vehicles

    @classmethod
    def of(cls, kind: Kind, row: Sequence[Any]) -> "Given":
        """Return a reading of a kind: device, time, id, and the kind's values in their order."""
        values = dict(zip((field.column for field in kind.fields), row[3:], strict=True))
        return cls(row[0], kind is METER, row[1], row[2], values[kind.energy.column], values.get("battery_temp"))


def candidates(vehicle_id: str, vehicle_prefix: str, meter_prefix: str) -> list[str]:
    """Return the meters that may feed a vehicle judging by its id, the preferred first.

    The same id; then those whose rest is the same once the prefixes are taken off: with the prefix, and bare.
    """
    rest = vehicle_id.removeprefix(vehicle_prefix)
    found = dict.fromkeys((vehicle_id, meter_prefix + rest, rest))
    return [
        meter_id
        for meter_id in found
        # A bare rest that begins with the meters' prefix has another rest itself.
        if is_device_id(meter_id) and (meter_id == vehicle_id or meter_id.removeprefix(meter_prefix) == rest)
    ]


def candidate_pairs(vehicles: Iterable[str], vehicle_prefix: str, meter_prefix: str) -> tuple[list[str], list[str]]:
    """Return vehicles and the meters that may feed them by their ids, beside each other, the preferred first."""
    found = [(vehicle, meter) for vehicle in vehicles for meter in candidates(vehicle, vehicle_prefix, meter_prefix)]
    return [vehicle for vehicle, _ in found], [meter for _, meter in found]


def pieces(segments: Iterable[Segment], window: Window) -> list[Piece]:
    """Return what to read of each segment that has a part in the window, so that the window is counted."""
    return [
        Piece(
            segment.vehicle_id,
            segment.meter_id,
            starts=max(segment.starts, window.read_start),
            ends=min(segment.ends, window.read_end),
            counts_from=max(segment.starts, window.start),
            counts_until=min(segment.ends, window.end),
        )
        for segment in segments
        if segment.starts < window.end and segment.ends > window.start
    ]


def meeting_arguments(
    found: Sequence[Piece], tolerance: timedelta, device: Device, given: Sequence[Given] = ()
) -> list[Any]:
    """Return the values of the parameters $1 to $18 of parts/meeting.sql.

    Where nothing is given and no register is among the devices, the first PLAIN of them are enough.
    """
    return [
        [piece.vehicle_id for piece in found],
        [piece.meter_id for piece in found],
        [piece.starts for piece in found],
        [piece.ends for piece in found],
        [piece.counts_from for piece in found],
        [piece.counts_until for piece in found],
        [is_register(VEHICLE, piece.vehicle_id, device) for piece in found],
        [is_register(METER, piece.meter_id, device) for piece in found],
        min((piece.starts for piece in found), default=_NEVER),
        max((piece.ends for piece in found), default=_NEVER),
        tolerance,
        power_max_kw(device),
        *([getattr(reading, name) for reading in given] for name in Given._fields),
    ]
