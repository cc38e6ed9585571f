"""`GET /v1/ingest/{kind}/{id}/current`: the newest reading of a device."""

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from hseie import web as http
from hseie.analytics.query import Query
from hseie.analytics.reader import Reader
from hseie.analytics.together import Together
from hseie.answers import rfc3339
from hseie.database import Record
from hseie.readings import Kind, is_device_id


class CurrentRoute:
    """Answers for the devices of one kind."""

    def __init__(self, reader: Reader, kind: Kind) -> None:
        self._reader = reader
        self._kind = kind
        self._states = Together(self._ask, kind.id_column, reader.connections, reader.busy_max)

    async def current(self, request: web.Request) -> web.Response:
        Query(request.query, ()).check()
        device = request.match_info["id"]
        row = await self._states.row(device) if is_device_id(device) else None
        if row is None:
            return http.problem("unknown_device")
        return http.json_answer({**reading_answer(self._kind, row), "updatedAt": rfc3339(row["updated_at"])})

    async def _ask(self, devices: Sequence[str]) -> Sequence[Record]:
        return await self._reader.rows("current_states", devices, kind=self._kind)


def reading_answer(kind: Kind, row: Record) -> dict[str, Any]:
    """Return a row with the columns of `kind` in the form in which a device would post it."""
    return {
        kind.id_wire: row[kind.id_column],
        **{field.wire: float(row[field.column]) for field in kind.fields},
        "timestamp": rfc3339(row["timestamp"]),
    }
