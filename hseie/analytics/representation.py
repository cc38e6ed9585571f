"""What the answers about readings have in common: JSON or CSV, and 304 to who has the same already.

Both are told apart by `format` or by `Accept`. The validator is strong, a digest of the answer's very bytes: where it
is the same, nothing has to be sent again. Who keeps such an answer has to ask each time, and keeps it for himself: what
a key may see is not for the next one.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson
from aiohttp import web

from hseie import web as http
from hseie.analytics.query import Query
from hseie.csv_text import CSV, csv_text, prefers_csv

FORMATS = ("json", "csv")
_HEADERS = {"Cache-Control": "private, no-cache"}
_CHOSEN = {"Vary": "Accept"}


@dataclass(frozen=True)
class Table:
    """An answer as CSV: the name of its file without an ending, its columns, and its rows by column."""

    name: str
    columns: Sequence[str]
    rows: Iterable[Mapping[str, Any]]


def asks_for_csv(query: Query, request: web.Request) -> bool:
    """Return whether CSV is to be answered; notes a `format` that is none. `format` counts more than `Accept`."""
    if "format" in query:
        return query.choice("format", FORMATS, "json") == "csv"
    return prefers_csv(",".join(request.headers.getall("Accept", ())))


def as_json(
    request: web.Request, document: Any, headers: Mapping[str, str] | None = None, *, chosen: bool = True
) -> web.Response:
    """Return a JSON answer, or 304; Structs are taken too. `chosen`: it could have been CSV."""
    body = orjson.dumps(document, default=msgspec.to_builtins)
    return _answer(request, body, http.JSON, {**(_CHOSEN if chosen else {}), **(headers or {})})


def as_csv(request: web.Request, table: Table, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a table to be saved as a file, or 304."""
    file = table.name.replace(":", "_")  # of an id's characters the one that file systems mind
    named = {**_CHOSEN, "Content-Disposition": f'attachment; filename="{file}.csv"', **(headers or {})}
    return _answer(request, csv_text(table.columns, table.rows), CSV, named)


def _answer(request: web.Request, body: bytes, content_type: str, more: Mapping[str, str]) -> web.Response:
    tag = hashlib.sha256(body).hexdigest()[:32]
    headers = {**_HEADERS, "ETag": f'"{tag}"', **more}
    if any(known.value in (tag, "*") for known in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    charset = "utf-8" if content_type == CSV else None
    return web.Response(body=body, headers=headers, content_type=content_type, charset=charset)
