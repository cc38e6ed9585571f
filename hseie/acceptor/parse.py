"""From the body of a request to rows of COPY text by shard, or to every reason why not. Pure; time is an argument.

Good requests take the fast path: one conversion checks all readings of a batch. Only when that fails is each item, and
then each of its fields, checked alone, so that every wrong field of every wrong item is named.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import orjson

from hseie.acceptor.explain import explain
from hseie.frames import shard_of
from hseie.problems import ERRORS_MAX, ErrorItem
from hseie.readings import READING_TYPES, ROW_MAKERS, Kind, canonical_time, is_device_id, time_text

DEVICES_REMEMBERED_MAX = 200_000


class RejectedBodyError(Exception):
    """The whole request is refused: `code` is that of a declared problem."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail


@dataclass(slots=True)
class Parsed:
    """What a body held. `rows` is per shard the lines of COPY text of the good readings, in their order.

    `device` and `time` (canonical text) are those of the last good reading: for the answer to a single one.
    """

    is_batch: bool
    rows: dict[int, list[str]] = field(default_factory=dict)
    accepted: int = 0
    rejected: int = 0
    errors: list[ErrorItem] = field(default_factory=list)
    rejected_indexes: list[int] = field(default_factory=list)
    device: str = ""
    time: str = ""


class ReadingParser:
    """Parses bodies for one acceptor; remembers which shard the devices it has seen belong to."""

    def __init__(self, shards: int, batch_readings_max: int, future_max_s: int, past_max_days: int) -> None:
        self._shards = shards
        self._batch_readings_max = batch_readings_max
        self._future = timedelta(seconds=future_max_s)
        self._past = timedelta(days=past_max_days)
        self._shard_of_device: dict[str, int] = {}
        self._bounds_second = -1
        self._bounds = ("", "")

    @property
    def devices_remembered(self) -> int:
        return len(self._shard_of_device)

    def parse(self, body: bytes, kind: Kind, now: float) -> Parsed:
        """Return the rows and errors of a body of JSON: one object or an array of them. `now` is Unix time in seconds.

        Raises RejectedBodyError when there is nothing in it that could be judged one by one.
        """
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise RejectedBodyError("bad_json", f"{error.msg} (line {error.lineno}, column {error.colno})") from None
        if isinstance(document, dict):
            items, parsed = [document], Parsed(is_batch=False)
        elif isinstance(document, list):
            items, parsed = document, Parsed(is_batch=True)
            if not items:
                raise RejectedBodyError("empty_batch")
            if len(items) > self._batch_readings_max:
                raise RejectedBodyError("batch_too_large", f"at most {self._batch_readings_max} readings a request")
        else:
            raise RejectedBodyError("not_an_object")
        reading_type = READING_TYPES[kind.number]
        try:
            readings: list[Any] = msgspec.convert(items, list[reading_type])  # type: ignore[valid-type]
        except (msgspec.ValidationError, UnicodeError):
            readings = [_convert(item, reading_type) for item in items]
        self._sort_into_shards(items, readings, kind, now, parsed)
        return parsed

    def _sort_into_shards(self, items: list[Any], readings: list[Any], kind: Kind, now: float, parsed: Parsed) -> None:
        make_row = ROW_MAKERS[kind.number]
        known = self._shard_of_device
        earliest, latest = self._time_bounds(now)
        id_wire, rows = kind.id_wire, parsed.rows
        for index, (item, reading) in enumerate(zip(items, readings, strict=True)):
            if reading is None:
                self._reject(parsed, index, item, kind)
                continue
            device = item[id_wire]
            shard = known.get(device)
            if shard is None:
                shard = self._shard_of(device)
            try:
                time = canonical_time(item["timestamp"], reading.timestamp)
            except OverflowError:
                time = ""
            if shard is None or not earliest <= time <= latest:
                self._reject(parsed, index, item, kind)
                continue
            line = make_row(device, time, reading)
            if shard in rows:
                rows[shard].append(line)
            else:
                rows[shard] = [line]
            parsed.accepted += 1
            parsed.device, parsed.time = device, time

    def _reject(self, parsed: Parsed, index: int, item: Any, kind: Kind) -> None:
        parsed.rejected += 1
        parsed.rejected_indexes.append(index)
        # The answer names so many errors and no more; explaining the others would only cost everybody else time.
        room = ERRORS_MAX - len(parsed.errors)
        if room > 0:
            where = index if parsed.is_batch else None
            errors = explain(item, kind, *self._bounds)[:room]
            parsed.errors += [msgspec.structs.replace(error, index=where) for error in errors]

    def _shard_of(self, device: str) -> int | None:
        """Return the shard of a device not seen before, or None when its id is not one."""
        if is_device_id(device) is None:
            return None
        if len(self._shard_of_device) >= DEVICES_REMEMBERED_MAX:
            self._shard_of_device.clear()
        shard = self._shard_of_device[device] = shard_of(device, self._shards)
        return shard

    def _time_bounds(self, now: float) -> tuple[str, str]:
        """Return the earliest and the latest acceptable time as canonical text; made anew once a second."""
        second = int(now)
        if second != self._bounds_second:
            moment = datetime.fromtimestamp(second, UTC)
            self._bounds = (time_text(moment - self._past), time_text(moment + self._future + timedelta(seconds=1)))
            self._bounds_second = second
        return self._bounds


def _convert(item: Any, reading_type: type[msgspec.Struct]) -> Any:
    try:
        return msgspec.convert(item, reading_type)
    except (msgspec.ValidationError, UnicodeError):
        return None
