"""`GET /v1/analytics/history/{kind}/{id}`: a device's effective readings, or buckets of them, page by page."""

import base64
import binascii
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from hseie import web as http
from hseie.analytics.buckets import PARTS, DeviceBuckets, bucket_answer
from hseie.analytics.current import reading_answer
from hseie.analytics.device_readings import DeviceReadings
from hseie.analytics.query import Query
from hseie.analytics.reader import Reader
from hseie.analytics.representation import Table, as_csv, as_json, asks_for_csv
from hseie.analytics.rolled import floor
from hseie.answers import rfc3339
from hseie.archive import Archive
from hseie.config import Config
from hseie.readings import Kind, is_device_id

PARAMETERS = ("from", "to", "limit", "cursor", "order", "resolution", "format")
RESOLUTIONS = {
    "raw": timedelta(0),
    "1m": timedelta(minutes=1),
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "1d": timedelta(days=1),
}
ORDERS = ("desc", "asc")
LIMIT_DEFAULT = 1000
LIMIT_MAX = 10_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Page:
    """One page: the device's readings in [start, end), in one order, at most `limit` of them."""

    kind: str
    device: str
    start: datetime
    end: datetime
    order: str
    resolution: str
    limit: int

    @property
    def ascending(self) -> bool:
        return self.order == "asc"

    @property
    def width(self) -> timedelta:
        return RESOLUTIONS[self.resolution]

    def after(self, place: datetime) -> "Page":
        """Return the page of what is still to come, `place` being the bound that was reached, in the page's order.

        Effective readings differ in time, so a time is a place that inserts between two pages do not move.
        """
        if self.ascending:
            return replace(self, start=max(self.start, place))
        return replace(self, end=min(self.end, place))


class HistoryRoute:
    """Answers for the devices of one kind. `now` is the clock."""

    def __init__(
        self, reader: Reader, archive: Archive, kind: Kind, config: Config, now: Callable[[], datetime]
    ) -> None:
        self._reader = reader
        self._kind = kind
        self._config = config
        self._now = now
        self._readings = DeviceReadings(reader, archive, kind, config)
        self._made = DeviceBuckets(reader, self._readings, kind, config)

    async def history(self, request: web.Request) -> web.Response:
        device = request.match_info["id"]
        query = Query(request.query, PARAMETERS)
        as_table = asks_for_csv(query, request)
        page = page_of(query, self._kind.name, device, self._config, self._now())
        # Asked first: all the files of the archive would be looked through for a device that is not there.
        if not is_device_id(device) or await self._reader.row("current_state", device, kind=self._kind) is None:
            return http.problem("unknown_device")
        readings, reached = await (self._raw(page) if page.resolution == "raw" else self._buckets(page))
        return _answer(request, self._kind, page, readings, reached, as_table)

    async def _raw(self, page: Page) -> tuple[list[dict[str, Any]], datetime | None]:
        # One more than asked for tells whether another page follows.
        rows = await self._readings.first(page.device, page.start, page.end, page.limit + 1, ascending=page.ascending)
        shown = rows[: page.limit]
        reached = None
        if len(rows) > page.limit:
            last: datetime = shown[-1]["timestamp"]
            reached = last + _MICROSECOND if page.ascending else last
        return [reading_answer(self._kind, row) for row in shown], reached

    async def _buckets(self, page: Page) -> tuple[list[dict[str, Any]], datetime | None]:
        # A page spans `limit` buckets of time, empty ones too, so that what it reads is bounded.
        span = page.limit * page.width
        if page.ascending:
            start, end = page.start, min(page.end, page.start + span)
        else:
            start, end = max(page.start, page.end - span), page.end
        found = await self._made.between(page.device, start, end, page.width, ascending=page.ascending)
        if page.ascending:
            reached = found.end if found.end < page.end else None
        else:
            reached = found.start if found.start > page.start else None
        return [bucket_answer(self._kind, row) for row in found.rows], reached


def page_of(query: Query, kind: str, device: str, config: Config, now: datetime) -> Page:
    """Return the page that a request asks for. Raises BadParameterError.

    Without bounds: all that is accepted, or for buckets the latest `limit` of them. Bounds of buckets are moved
    outwards to whole ones. A cursor replaces one bound and belongs to the request it was given for.
    """
    order = query.choice("order", ORDERS, "desc")
    resolution = query.choice("resolution", RESOLUTIONS, "raw")
    limit = query.whole("limit", LIMIT_DEFAULT, 1, LIMIT_MAX)
    width = RESOLUTIONS[resolution]
    start, end = query.moment("from"), query.moment("to")
    query.check()
    if end is None:
        end = now + timedelta(seconds=config.ingest.future_max_s)
    end = floor(end - _MICROSECOND, width) + width if width else end
    if start is None:
        start = end - (limit * width if width else timedelta(days=config.ingest.past_max_days + 1))
    start = floor(start, width) if width else start
    page = Page(kind, device, start, end, order, resolution, limit)
    cursor = query.text("cursor")
    if page.start >= page.end:
        query.refuse("from", "from must lie before to")
    elif cursor is not None:
        place = read_cursor(cursor, page)
        if place is None:
            query.refuse("cursor", "this cursor was not given for this request; follow `next` with the same parameters")
        else:
            page = page.after(place)
    query.check()
    return page


def make_cursor(place: datetime, page: Page) -> str:
    """Return where the next page begins as opaque text, bound to the request by a checksum."""
    body = ((place - _EPOCH) // _MICROSECOND).to_bytes(8, "big", signed=True)
    return _as_text(body + _seal(body, page))


def read_cursor(text: str, page: Page) -> datetime | None:
    """Return the place of a cursor; None if it was changed or made for another request."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    body, seal = raw[:8], raw[8:]
    if len(body) < 8 or seal != _seal(body, page) or _as_text(raw) != text:
        return None
    try:
        return _EPOCH + int.from_bytes(body, "big", signed=True) * _MICROSECOND
    except OverflowError:
        return None


def _as_text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _seal(body: bytes, page: Page) -> bytes:
    # Not a secret: a cursor only moves a bound that its owner may choose anyway. It keeps mistakes from passing.
    request = f"{page.kind}/{page.device}/{page.order}/{page.resolution}".encode()
    return zlib.crc32(body + request).to_bytes(4, "big")


def _answer(
    request: web.Request,
    kind: Kind,
    page: Page,
    readings: list[dict[str, Any]],
    reached: datetime | None,
    as_table: bool,
) -> web.Response:
    cursor = make_cursor(reached, page) if reached is not None else None
    headers = {}
    if cursor is not None:
        # The bounds as they were taken, so that "now" means the same on every page.
        following = request.rel_url.update_query(
            {"from": rfc3339(page.start), "to": rfc3339(page.end), "limit": page.limit, "cursor": cursor}
        )
        headers["Link"] = f'<{following}>; rel="next"'
    if as_table:
        return as_csv(request, table(kind, page, readings), headers)
    return as_json(request, {"readings": readings, "next": cursor}, headers)


def table(kind: Kind, page: Page, readings: Sequence[dict[str, Any]]) -> Table:
    """Return a page as a table. What a bucket says of a value has a column each: voltageAvg, voltageMin and so on."""
    name = f"history_{kind.name}_{page.device}_{page.resolution}"
    if page.resolution == "raw":
        columns = [kind.id_wire, *(field.wire for field in kind.fields), "timestamp"]
        return Table(name, columns, readings)
    columns = ["timestamp", "readings"]
    for field in kind.fields:
        columns += [field.wire] if field == kind.energy else [_column(field.wire, part) for part in PARTS]
    return Table(name, columns, [_flat(bucket) for bucket in readings])


def _flat(bucket: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in bucket.items():
        flat |= {_column(name, part): one for part, one in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _column(field: str, part: str) -> str:
    return f"{field}{part.capitalize()}"
