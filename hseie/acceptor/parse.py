"""From the body of a request to rows of COPY text by kind and shard, or to every reason why not. Pure.

Good requests take the fast path: one conversion checks all readings of a kind. Only when that fails is each item, and
then each of its fields, checked alone, so that every wrong field of every wrong item is named.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain
from operator import itemgetter
from typing import Any

import msgspec

from hseie.acceptor.bodies import read_json, read_lines, refuse_nests
from hseie.acceptor.explain import explain, explain_no_json, explain_no_kind, explain_refusal
from hseie.access import Admits
from hseie.frames import shard_of
from hseie.problems import ERRORS_MAX, ErrorItem
from hseie.readings import KINDS, READING_TYPES, ROW_MAKERS, Kind, canonical_time, is_device_id, time_text

DEVICES_REMEMBERED_MAX = 200_000


@dataclass(slots=True)
class Parsed:
    """What a body held. `rows` is per kind number and shard the COPY text of the good readings: lines in their order.

    `device` and `time` (canonical text) are for the answer to a single reading that is good. `refused` counts the
    rejected ones whose only fault is their device, by code.
    """

    is_batch: bool
    rows: dict[int, dict[int, list[str]]] = field(default_factory=dict)
    accepted: int = 0
    rejected: int = 0
    errors: list[ErrorItem] = field(default_factory=list)
    rejected_indexes: list[int] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)
    device: str = ""
    time: str = ""


# An item that is not taken: its index, itself, its kind (None: it has none), and why, where that is known already.
_Rejected = tuple[int, Any, Kind | None, ErrorItem | None]


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

    def parse(
        self, body: bytes, kind: Kind | None, now: float, admits: Admits | None = None, *, lines: bool = False
    ) -> Parsed:
        """Return the rows and errors of a body of JSON, or of NDJSON (`lines`). `now` is Unix time in seconds.

        Its readings are of `kind`, or (None) each of the kind whose id field it has.

        Raises RejectedBodyError when there is nothing in it that could be judged one by one.
        """
        refuse_nests(body, self._batch_readings_max)
        rejected: list[_Rejected] = []
        if lines:
            is_batch = True
            items, not_json = read_lines(body, self._batch_readings_max)
            indexes: Sequence[int] = range(len(items) + len(not_json))
            if not_json:
                indexes = [index for index in indexes if index not in not_json]
                rejected += [(index, None, None, explain_no_json(why)) for index, why in not_json.items()]
        else:
            items, is_batch = read_json(body, self._batch_readings_max)
            indexes = range(len(items))
        parsed = Parsed(is_batch)
        if kind is not None:
            self._take(kind, indexes, items, now, admits, parsed, rejected)
        else:
            for its_kind, its_indexes, its_items in _by_kind(indexes, items, rejected):
                self._take(its_kind, its_indexes, its_items, now, admits, parsed, rejected)
        if rejected:
            self._tell(rejected, parsed)
        return parsed

    def _take(
        self,
        kind: Kind,
        indexes: Sequence[int],
        items: list[Any],
        now: float,
        admits: Admits | None,
        parsed: Parsed,
        rejected: list[_Rejected],
    ) -> None:
        """Sort the good ones of items of one kind into rows by shard."""
        reading_type = READING_TYPES[kind.number]
        try:
            readings: list[Any] = msgspec.convert(items, list[reading_type])  # type: ignore[valid-type]
        except (msgspec.ValidationError, UnicodeError):
            readings = [_convert(item, reading_type) for item in items]
        make_row = ROW_MAKERS[kind.number]
        known = self._shard_of_device
        earliest, latest = self._time_bounds(now)
        id_wire = kind.id_wire
        rows: dict[int, list[str]] = {}
        device = time = ""
        rejected_before = len(rejected)
        for index, item, reading in zip(indexes, items, readings, strict=True):
            if reading is None:
                rejected.append((index, item, kind, None))
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
                rejected.append((index, item, kind, None))
                continue
            if admits is not None and (refusal := admits(device)) is not None:
                parsed.refused[refusal] = parsed.refused.get(refusal, 0) + 1
                rejected.append((index, item, kind, explain_refusal(refusal, kind)))
                continue
            line = make_row(device, time, reading)
            if shard in rows:
                rows[shard].append(line)
            else:
                rows[shard] = [line]
        if rows:
            parsed.rows[kind.number] = rows
            parsed.accepted += len(items) - (len(rejected) - rejected_before)
            parsed.device, parsed.time = device, time

    def _tell(self, rejected: list[_Rejected], parsed: Parsed) -> None:
        rejected.sort(key=itemgetter(0))
        parsed.rejected = len(rejected)
        parsed.rejected_indexes = [index for index, *_ in rejected]
        for index, item, kind, known in rejected:
            # The answer names so many errors and no more; explaining the others would only cost everybody else time.
            room = ERRORS_MAX - len(parsed.errors)
            if room <= 0:
                break
            if known is not None:
                errors = [known]
            elif kind is None:
                errors = [explain_no_kind(item)]
            else:
                errors = explain(item, kind, *self._bounds)[:room]
            where = index if parsed.is_batch else None
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


def _by_kind(
    indexes: Sequence[int], items: list[Any], rejected: list[_Rejected]
) -> Iterator[tuple[Kind, list[int], list[Any]]]:
    """Part items by the kind whose id field they have: per kind their indexes and themselves.

    One with the id fields of several kinds, or of none, is rejected.
    """
    places = [
        [place for place, item in enumerate(items) if type(item) is dict and kind.id_wire in item] for kind in KINDS
    ]
    if not sum(map(len, places)) == len(set(chain.from_iterable(places))) == len(items):
        found = Counter(chain.from_iterable(places))
        misfits = [place for place in range(len(items)) if found[place] != 1]
        rejected += [(indexes[place], items[place], None, None) for place in misfits]
        places = [[place for place in of_kind if found[place] == 1] for of_kind in places]
    for kind, of_kind in zip(KINDS, places, strict=True):
        if of_kind:
            yield kind, [indexes[place] for place in of_kind], [items[place] for place in of_kind]
