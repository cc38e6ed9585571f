"""`GET /v1/ingest/{kind}/{id}/current`: the newest reading of a device."""

from typing import Any

from aiohttp import web

from hseie import web as http
from hseie.analytics.query import Query
from hseie.analytics.reader import Reader
from hseie.answers import rfc3339
from hseie.database import Record
from hseie.readings import Kind, is_device_id


class CurrentRoute:
    """Answers for the devices of one kind."""

    def __init__(self, reader: Reader, kind: Kind) -> None:
        self._reader = reader
        self._kind = kind

    async def current(self, request: web.Request) -> web.Response:
        Query(request.query, ()).check()
        device = request.match_info["id"]
        row = await self._reader.row("current_state", device, kind=self._kind) if is_device_id(device) else None
        if row is None:
            return http.problem("unknown_device")
        return http.json_answer({**reading_answer(self._kind, row), "updatedAt": rfc3339(row["updated_at"])})


def reading_answer(kind: Kind, row: Record) -> dict[str, Any]:
    """Return a row with the columns of `kind` in the form in which a device would post it."""
    return {
        kind.id_wire: row[kind.id_column],
        **{field.wire: float(row[field.column]) for field in kind.fields},
        "timestamp": rfc3339(row["timestamp"]),
    }
