"""`/v1/pairs`: which meter feeds which vehicle when. The only routes of this process that change something."""

import asyncio
import base64
import binascii
import zlib
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from aiohttp import web

from hseie import database, pairs
from hseie import web as http
from hseie.analytics.entrance import may_speak_for
from hseie.analytics.query import Query
from hseie.analytics.reader import Reader, TooManyQueriesError
from hseie.config import Config
from hseie.database import Failure, classify
from hseie.errors import DatabaseUnavailableError
from hseie.pair_answers import Pair, PairChange, PairPage
from hseie.pair_plan import Change, ForeignDeviceError, PairConflictError, UnknownPairError
from hseie.pair_plan import Pair as Row
from hseie.pair_request import InvalidPairError, read_pair
from hseie.pair_routes import LIMIT_DEFAULT, LIMIT_MAX, STATES
from hseie.readings import is_device_id

CHANGES_MAX = 32
"""Changes that may be under way or wait for their turn."""

PARAMETERS = ("vehicleId", "meterId", "state", "limit", "cursor")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class PairsRoutes:
    """Lists pairings from `reader`; changes them one at a time, each on a connection of its own that may write."""

    def __init__(self, reader: Reader, config: Config, postgres_url: str) -> None:
        self._reader = reader
        self._config = config
        self._url = postgres_url
        self._turn = asyncio.Lock()
        self._changes = 0

    async def page(self, request: web.Request) -> web.Response:
        query = Query(request.query, PARAMETERS)
        vehicle_id, meter_id = _device(query, "vehicleId"), _device(query, "meterId")
        state = query.choice("state", STATES, "current")
        limit = query.whole("limit", LIMIT_DEFAULT, 1, LIMIT_MAX)
        cursor, asked = query.text("cursor"), f"{vehicle_id}/{meter_id}/{state}"
        after = read_cursor(cursor, asked) if cursor is not None else None
        if cursor is not None and after is None:
            query.refuse("cursor", "this cursor was not given for this request; follow `next` with the same parameters")
        query.check()
        # One more than asked for tells whether another page follows.
        found = await self._reader.rows("pair_list", vehicle_id, meter_id, state, *(after or (None, None)), limit + 1)
        shown = [Row(**row) for row in found[:limit]]
        following = make_cursor(shown[-1], asked) if len(found) > limit else None
        headers = {}
        if following is not None:
            headers["Link"] = f'<{request.rel_url.update_query(cursor=following)}>; rel="next"'
        return http.json_answer(PairPage(pairs=[Pair.of(row) for row in shown], next=following), headers=headers)

    async def put(self, request: web.Request) -> web.Response:
        Query(request.query, ()).check()
        if request.content_type != http.JSON:
            return _unsupported("a pairing is sent as application/json", Accept=http.JSON)
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            return _unsupported("a pairing is sent as it is", **{"Accept-Encoding": "identity"})
        body = await http.read_small_body(request, self._config.http.body_timeout_s)
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            return http.problem("bad_json", f"{error.msg} (line {error.lineno}, column {error.colno})")
        try:
            wanted = read_pair(document, vehicleId=request.match_info["vehicleId"])
            return await self._answer(
                lambda connection: pairs.set_pair(connection, self._config, wanted, may_speak_for(request))
            )
        except InvalidPairError as error:
            return http.problem("invalid_pair", f"{len(error.errors)} wrong; see errors.", error.errors)

    async def delete(self, request: web.Request) -> web.Response:
        query = Query(request.query, ("at",))
        at = query.moment("at")
        query.check()
        vehicle_id = request.match_info["vehicleId"]
        if not is_device_id(vehicle_id):
            return http.problem("unknown_pair")
        try:
            return await self._answer(
                lambda connection: pairs.end_pair(connection, self._config, vehicle_id, at, may_speak_for(request))
            )
        except InvalidPairError as error:
            return http.problem("bad_parameter", f"{len(error.errors)} wrong; see errors.", error.errors)

    async def _answer(self, work: Callable[[Any], Coroutine[Any, Any, Change]]) -> web.Response:
        try:
            return http.json_answer(PairChange.of(await self._change(work)))
        except PairConflictError as error:
            return http.problem("pair_conflict", str(error))
        except UnknownPairError:
            return http.problem("unknown_pair")
        except ForeignDeviceError:
            return http.problem("device_not_allowed")

    async def _change(self, work: Callable[[Any], Coroutine[Any, Any, Change]]) -> Change:
        """Do `work` when its turn has come. Raises what it raises, TooManyQueriesError and DatabaseUnavailableError.

        After the latter it is not known whether it was done: the same may be asked for again.
        """
        if self._changes >= CHANGES_MAX:
            raise TooManyQueriesError("too many changes of pairings wait for their turn")
        self._changes += 1
        try:
            async with asyncio.timeout(self._config.analytics.statement_timeout_ms / 1000):
                await self._turn.acquire()
            try:
                return await self._connected(work)
            finally:
                self._turn.release()
        except database.DATABASE_ERRORS as error:
            if classify(error) not in (Failure.UNAVAILABLE, Failure.RETRY):
                raise
            raise DatabaseUnavailableError(f"{type(error).__name__}: {error}") from error
        finally:
            self._changes -= 1

    async def _connected(self, work: Callable[[Any], Coroutine[Any, Any, Change]]) -> Change:
        timeout_ms = self._config.analytics.statement_timeout_ms
        # The server ends a statement by itself too; when the connection is cut it may not notice for long.
        settings = pairs.session_settings(self._config) | {"statement_timeout": str(timeout_ms)}
        connect_timeout_s = self._config.postgres.connect_timeout_ms / 1000
        connection: Any = await database.connect(self._url, "hseie pairs", connect_timeout_s, settings)
        try:
            return await database.within(timeout_ms / 1000, connection, work(connection))
        finally:
            await database.close(connection)


def _device(query: Query, name: str) -> str | None:
    value = query.text(name)
    if value is not None and not is_device_id(value):
        query.refuse(name, f"{name} is no id of a device")
        return None
    return value


def _unsupported(detail: str, **headers: str) -> web.Response:
    return http.problem("unsupported_media_type", detail, headers=headers)


def make_cursor(row: Row, asked: str) -> str:
    """Return where the page behind a row begins as opaque text, bound by a checksum to what was asked for."""
    body = ((row.valid_from - _EPOCH) // _MICROSECOND).to_bytes(8, "big", signed=True) + row.vehicle_id.encode()
    return _as_text(_seal(body, asked) + body)


def read_cursor(text: str, asked: str) -> tuple[str, datetime] | None:
    """Return the vehicle and start of a cursor; None if it was changed or made for another request."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    seal, body = raw[:4], raw[4:]
    if len(body) <= 8 or seal != _seal(body, asked) or _as_text(raw) != text:
        return None
    try:
        return body[8:].decode("ascii"), _EPOCH + int.from_bytes(body[:8], "big", signed=True) * _MICROSECOND
    except (OverflowError, UnicodeDecodeError):
        return None


def _as_text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _seal(body: bytes, asked: str) -> bytes:
    # Not a secret: a cursor only leads where its owner may look anyway. It keeps mistakes from passing.
    return zlib.crc32(body + asked.encode()).to_bytes(4, "big")
