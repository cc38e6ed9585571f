"""Buckets of a device's readings: whole hours and days from rollups where these say what the readings say, everything
else from the readings themselves. The answer is the same either way."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from hseie.analytics.device_readings import ARCHIVED_MAX, Archived, DeviceReadings, Reading, Span
from hseie.analytics.reader import Reader
from hseie.analytics.rolled import DAY, HOUR, floor
from hseie.answers import rfc3339
from hseie.config import Config
from hseie.errors import ArchiveUnavailableError
from hseie.readings import Kind
from hseie.registers import is_register
from hseie.rollup_settings import settings_of

PARTS = ("avg", "min", "max", "first", "last")

# Rows of the archive that a single bucket may be made of, where a page of ARCHIVED_MAX holds none whole: a day of a
# device that sends every second, with each reading twice corrected. 150 MB.
ARCHIVED_BUCKET_MAX = 300_000

_ROLLED = {HOUR: "history_hours", DAY: "history_days"}


@dataclass(frozen=True)
class Trust:
    """Which rollups of a device may be taken for its readings.

    Those before `until` and from `since` on, where they are kept whole; but none near a mark, and of a register none
    behind one either, since the next reading is compared with that which came late, however far away it is. Of days
    whose readings were given up there is nothing else, so that theirs are taken as they are, even where they were not
    `made_as_now`: with other settings.
    """

    until: datetime | None
    since: datetime | None
    marks: Sequence[datetime]
    given_up: frozenset[date]
    register: bool
    made_as_now: bool = True

    def judge(self, width: timedelta) -> Callable[[datetime], bool]:
        """Return a function that tells whether the rollup of the bucket that starts at a time may be taken.

        It looks at the marks now, so that a page of many buckets does not go through all of them for each.
        """
        until = floor(self.until, width) if self.until is not None else None
        spoiled = {floor(mark + number * HOUR, width) for mark in self.marks for number in (-1, 0, 1)}
        all_from = min(self.marks) if self.register and self.marks else None

        def may(bucket: datetime) -> bool:
            if until is None or bucket + width > until:
                return False
            if self.since is not None and bucket < self.since:
                return False
            if bucket.date() in self.given_up:
                return True
            if not self.made_as_now or bucket in spoiled:
                return False
            return all_from is None or bucket + width < all_from

        return may


@dataclass(frozen=True)
class Buckets:
    """The buckets of [start, end) that have readings, in the order that was asked for."""

    rows: list[Reading]
    start: datetime
    end: datetime


class DeviceBuckets:
    """Makes the buckets of devices of one kind."""

    def __init__(self, reader: Reader, readings: DeviceReadings, kind: Kind, config: Config) -> None:
        self._reader = reader
        self._readings = readings
        self._kind = kind
        self._config = config
        self._settings = settings_of(config)

    async def between(
        self, device: str, start: datetime, end: datetime, width: timedelta, *, ascending: bool
    ) -> Buckets:
        """Return the buckets of [start, end), which begins and ends with one; of less than that, from the side that
        comes first, where it would take more than ARCHIVED_MAX rows of the archive.

        Raises DatabaseUnavailableError, TooManyQueriesError and ArchiveUnavailableError.
        """
        rolled: dict[datetime, Reading] = {}
        spans = [(start, end)]
        if width in _ROLLED:
            trust = await self._trust(device, start, end, width)
            rows = await self._reader.rows(_ROLLED[width], device, start, end, kind=self._kind)
            may = trust.judge(width)
            rolled = {row["bucket"]: row for row in rows if may(row["bucket"])}
            spans = untrusted(trust, start, end, width)
        spans, archived, start, end = await self._archived(device, spans, (start, end), width, ascending=ascending)
        made = await self._readings.buckets(device, spans, width, archived)
        found = {**rolled, **{row["bucket"]: row for row in made}}
        places = sorted((place for place in found if start <= place < end), reverse=not ascending)
        return Buckets([found[place] for place in places], start, end)

    async def _trust(self, device: str, start: datetime, end: datetime, width: timedelta) -> Trust:
        row = await self._reader.row("history_rolled", self._kind.name, device, start.date(), end.date())
        register = is_register(self._kind, device, self._config.device)
        if row is None:
            return Trust(None, None, (), frozenset(), register)
        since = row["hours_from" if width == HOUR else "days_from"]
        made_as_now = row["settings"] == self._settings
        return Trust(row["rolled_until"], since, row["marks"], frozenset(row["given_up"]), register, made_as_now)

    async def _archived(
        self, device: str, spans: list[Span], whole: Span, width: timedelta, *, ascending: bool
    ) -> tuple[list[Span], list[Archived], datetime, datetime]:
        """Return what the archive holds of the spans, and the spans and the range that were read whole."""
        found: list[Archived] = []
        start, end = whole
        for span in spans if ascending else spans[::-1]:
            left = ARCHIVED_MAX - len(found)
            rows = await self._readings.archived(device, span, left + 1, ascending=ascending)
            if len(rows) <= left:
                found += rows
                continue
            # The bucket of the last one is not whole: it is for the next page, unless it is the first of this one.
            bucket = floor(rows[-1][1], width)
            if bucket == start if ascending else bucket + width == end:
                rows = await self._whole(device, (bucket, bucket + width), ascending=ascending)
                bucket += width if ascending else -width
            found += rows
            start, end = (start, bucket) if ascending else (bucket + width, end)
            break
        cut = [(max(first, start), min(last, end)) for first, last in spans]
        return [span for span in cut if span[0] < span[1]], found, start, end

    async def _whole(self, device: str, bucket: Span, *, ascending: bool) -> list[Archived]:
        """Return all that the archive holds of one bucket. Raises ArchiveUnavailableError where that is too much."""
        rows = await self._readings.archived(device, bucket, ARCHIVED_BUCKET_MAX + 1, ascending=ascending)
        if len(rows) > ARCHIVED_BUCKET_MAX:
            raise ArchiveUnavailableError(f"{rfc3339(bucket[0])} has more of them than one bucket may be made of")
        return rows


def untrusted(trust: Trust, start: datetime, end: datetime, width: timedelta) -> list[Span]:
    """Return the stretches of [start, end) whose rollups may not be taken."""
    found: list[Span] = []
    may = trust.judge(width)
    bucket = start
    while bucket < end:
        if not may(bucket):
            if found and found[-1][1] == bucket:
                found[-1] = (found[-1][0], bucket + width)
            else:
                found.append((bucket, bucket + width))
        bucket += width
    return found


def bucket_answer(kind: Kind, row: Reading) -> dict[str, Any]:
    """Return a bucket as it is answered. The energy adds up; of everything else there are average, least and most, and
    what was measured first and last."""
    answer: dict[str, Any] = {"timestamp": rfc3339(row["bucket"]), "readings": row["readings"]}
    for field in kind.fields:
        if field == kind.energy:
            answer[field.wire] = float(row[field.column])
        else:
            average = round(row[f"{field.column}_sum"] / row["readings"], field.scale)
            answer[field.wire] = {
                "avg": float(average),
                **{part: float(row[f"{field.column}_{part}"]) for part in PARTS[1:]},
            }
    return answer
