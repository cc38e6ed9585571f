"""The duty of rollups: closes hours, rolls them up, and makes anew what late readings have changed.

The order of a round: settings that have changed, closing, pairs that have come about by ids, hours in their order,
marks. A round does some of it and comes again at once while there is more, so that no step waits long for another.
"""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from hseie import clock, database
from hseie.archive import Archive
from hseie.config import Config
from hseie.database import Failure, PostgresError, statement
from hseie.errors import ArchiveUnavailableError
from hseie.maintenance import rollup_state
from hseie.maintenance.buckets import Buckets
from hseie.maintenance.expiry import Expiry
from hseie.maintenance.marks import Marks
from hseie.maintenance.pairings import Pairings
from hseie.maintenance.partitions import open_connection
from hseie.maintenance.raw import RawReadings
from hseie.maintenance.remaking import Remaking
from hseie.maintenance.rolling import Rolling
from hseie.maintenance.rollup_state import State
from hseie.maintenance.stretches import DAY, HOUR, NEVER, day_start
from hseie.rollup_settings import margin_of, settings_of

# Of each step in a round; a transaction that has begun is finished.
STEP_S = 10.0

# Counting goes no further: it would take longer than it says.
_MARKS_COUNTED = 100_000


class RollupDuty:
    """Makes rollups and keeps them true. See `hseie.maintenance.duty`."""

    name = "rollups"

    def __init__(
        self, log: Any, config: Config, postgres_url: str | None = None, archive: Archive | None = None
    ) -> None:
        """With an address, hours are rolled up on two connections at once."""
        self.interval_s = config.maintenance.rollup_interval_s
        self._margin = margin_of(config)
        # What comes in time for the next hour's first minutes has come before the hour is closed.
        self._lag = max(timedelta(seconds=config.maintenance.rollup_lag_s), self._margin)
        self._settings = settings_of(config)
        self._log = log
        self._config = config
        self._url = postgres_url
        self._raw = RawReadings(config, archive)
        buckets = Buckets(config, self._raw)
        self._remaking = Remaking(buckets, self._raw)
        self._rolling = Rolling(buckets, self._raw)
        self._pairings = Pairings(buckets, self._remaking)
        self._paired_until = NEVER
        self._marks = Marks(config, buckets, self._raw, self._remaking, self._pairings)
        self._expiry = Expiry(config.retention)
        self._expiry_interval_s = config.maintenance.interval_s
        self._expiry_due_s = 0.0  # monotonic
        self._archive_away = False
        self._rolled_until = NEVER
        self._marks_waiting = 0
        self._closing_s = 0.0

    def report(self) -> dict[str, Any]:
        figures = {
            "rollup_marks": self._marks_waiting,
            "rollup_marks_consumed": self._marks.consumed,
            "rollup_hours_remade": self._remaking.hours,
            "rollup_hours_left": self._remaking.left,
            "rollup_rows_deleted": self._expiry.deleted,
            "rollup_closing_s": self._closing_s,
            "rollup_archive_away": self._archive_away,
        }
        if self._rolled_until != NEVER:
            figures["rollup_lag_s"] = max(0.0, clock.unix_s() - self._rolled_until.timestamp())
        return figures

    async def work(self, connection: Any, now: datetime) -> float:
        # Two clocks: nothing is done before both say that it is time, and taken back where neither does.
        server = await connection.fetchval(statement("rollup_clock"))
        now, latest = min(now, server), max(now, server)
        state = await self._with_settings(connection)
        await self._raw.look(connection)
        if state.closed_until > latest + HOUR:
            state = await self._reopen(connection, state, now)
        state, refused = await self._close(connection, state, now)
        more = False
        missing: ArchiveUnavailableError | None = None
        try:
            if self._paired_until != state.closed_until:
                await self._pairings.check(connection)
            if state.rolled_until < state.closed_until:
                more = await self._roll(connection)
            more |= await self._consume(connection)
        except ArchiveUnavailableError as error:
            missing = error
            more = await self._without_archive(connection)
        missing, self._pairings.missing = missing or self._pairings.missing, None
        self._paired_until = state.closed_until if missing is None else NEVER
        self._note(missing)
        self._rolled_until = (await rollup_state.read(connection)).rolled_until
        more |= await self._expire(connection, now)
        self._marks_waiting = await connection.fetchval(statement("rollup_marks_waiting"), _MARKS_COUNTED)
        if refused is not None:
            raise refused
        return 0.0 if more else self.interval_s

    async def _reopen(self, connection: Any, state: State, now: datetime) -> State:
        """Open hours that lie ahead: while they are closed, every reading that comes has to be marked."""
        since = rollup_state.last_closable(now, self._lag)
        await rollup_state.reopen(connection, since)
        self._log.warning(
            "hours_reopened", closed_until=str(state.closed_until), since=str(since), because="a clock was ahead"
        )
        return await rollup_state.read(connection)

    async def _close(self, connection: Any, state: State, now: datetime) -> tuple[State, PostgresError | None]:
        """Close what can be; return the state, and what is in the way: what is closed already does not wait."""
        target = rollup_state.last_closable(now, self._lag)
        if state.closed_until < target:
            try:
                await rollup_state.close(connection, target)
            except PostgresError as error:
                if database.classify(error) is not Failure.RETRY:
                    raise
                return state, error
        return await rollup_state.read(connection), None

    def _note(self, missing: ArchiveUnavailableError | None) -> None:
        """Say it once that files of the archive cannot be read."""
        if missing is not None and not self._archive_away:
            self._log.warning(
                "archive_unavailable",
                reason=str(missing),
                advice="rollups that need archived days wait; see the runbook",
            )
        self._archive_away = missing is not None

    async def _without_archive(self, connection: Any) -> bool:
        """Consume what marks can be without archived days; the rest waits. Return whether there may be more."""
        try:
            return await self._consume(connection, self._raw.days_in_files())
        except ArchiveUnavailableError:
            return False

    async def _expire(self, connection: Any, now: datetime) -> bool:
        """Delete old rollups for a while, now and then; return whether there are more."""
        if time.monotonic() < self._expiry_due_s:
            return False
        newest = await self._raw.newest_day(connection)
        if newest is None:
            return False
        # Also where both clocks are ahead: rollups do not grow old while nothing comes.
        more = await self._expiry.expire(connection, min(now, day_start(newest) + DAY), STEP_S)
        if not more:
            self._expiry_due_s = time.monotonic() + self._expiry_interval_s
        return more

    async def _with_settings(self, connection: Any) -> State:
        """Return the state, after what was made with other settings has been given up."""
        state = await rollup_state.read(connection)
        if state.settings == self._settings:
            return state
        await self._raw.look(connection)
        oldest = await self._raw.next_day(connection, NEVER.date(), datetime.max.replace(tzinfo=NEVER.tzinfo))
        # Without any reading there is nothing to make anew, and nothing that could have been made otherwise.
        start = day_start(oldest) if oldest is not None else state.rolled_until
        await rollup_state.remake_from(connection, start, self._settings, self._margin)
        self._paired_until = NEVER
        if state.settings:
            self._log.warning("rollups_made_anew", since=str(start), because="settings that they depend on changed")
        return await rollup_state.read(connection)

    async def _roll(self, connection: Any) -> bool:
        """Roll up hours for a while; return whether there are more."""
        started = time.monotonic()
        span = await self._rolling.next_span(connection)
        if span is None:
            return False
        beside = await open_connection(self._config, self._url) if self._url else None
        try:
            while span is not None:
                begun = time.monotonic()
                await self._rolling.roll(connection, beside, span)
                self._closing_s = time.monotonic() - begun
                self._log.debug("rolled_up", start=str(span.start), end=str(span.end), seconds=self._closing_s)
                if time.monotonic() - started > STEP_S:
                    return True
                span = await self._rolling.next_span(connection)
        finally:
            if beside is not None:
                await database.close(beside)
        return False

    async def _consume(self, connection: Any, but_of: Sequence[datetime] = ()) -> bool:
        """Consume marks for a while, but none of certain days; return whether there may be more."""
        started = time.monotonic()
        while await self._marks.consume(connection, but_of):
            if time.monotonic() - started > STEP_S:
                return True
        return False
