"""`GET /v1/audit`: the books, beside journals and tables."""

import asyncio
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import msgspec
from aiohttp import web

from hseie import answers, database
from hseie import web as http
from hseie.analytics.query import Query
from hseie.analytics.reader import TooManyQueriesError, session_settings
from hseie.audit import audit, first_day, journals_of
from hseie.books import Audit
from hseie.config import Config
from hseie.database import Failure, classify

DAYS = 2  # read of history where nothing else is asked for: what came in lately, in seconds instead of minutes
_DAYS_MAX = 36_500
_TOO_LONG = "PostgreSQL did not finish the audit in time. Fewer days take less; `hseie audit` has no limit."


class AuditRoute:
    """One audit at a time, on a connection of its own: it may read all of history while other queries go on."""

    def __init__(self, config: Config, postgres_url: str, now: Callable[[], datetime]) -> None:
        self._config = config
        self._url = postgres_url
        self._now = now
        self._running = asyncio.Lock()

    async def audit(self, request: web.Request) -> web.Response:
        query = Query(request.query, ("days",))
        days = None if query.text("days") == "all" else query.whole("days", DAYS, 1, _DAYS_MAX)
        query.check()
        if self._running.locked():
            raise TooManyQueriesError("an audit is running")
        async with self._running:
            try:
                outcome = await self._audit(first_day(days, self._now()))
            except database.DATABASE_ERRORS as error:
                if classify(error) not in (Failure.UNAVAILABLE, Failure.RETRY):
                    raise
                return http.problem("database_unavailable", _TOO_LONG)
        # A disagreement is an answer, not an error of ours.
        return http.json_answer(msgspec.convert(outcome, answers.Audit, from_attributes=True))

    async def _audit(self, from_day: date | None) -> Audit:
        timeout_ms = self._config.analytics.audit_timeout_ms
        # The server ends a statement by itself too; when the connection is cut it may not notice for long.
        settings = session_settings(self._config) | {"statement_timeout": str(timeout_ms)}
        connect_timeout_s = self._config.postgres.connect_timeout_ms / 1000
        connection: Any = await database.connect(self._url, "hseie audit", connect_timeout_s, settings)
        try:
            work = audit(connection, journals_of(self._config), from_day)
            return await database.within(timeout_ms / 1000, connection, work)
        finally:
            await database.close(connection)
