"""The maintenance process: looks at the partitions every `maintenance.interval_s`. Never in the ingest path.

PostgreSQL may be away: that is said once, and once when it is back; the work waits.
"""

import asyncio
import contextlib
from datetime import datetime
from typing import Any

from hseie import clock, database, failpoints
from hseie.config import Config
from hseie.database import Failure
from hseie.errors import DatabaseUnavailableError
from hseie.maintenance.partitions import Outcome, days_needed, make_partitions, open_connection
from hseie.process import Child

# Sooner than the interval: after an outage, or for a lock that was not to be had.
RETRY_S = 5.0


async def serve(child: Child, config: Config, postgres_url: str) -> None:
    """Be the maintenance process until told to stop. Ready at once, with PostgreSQL away too."""
    maintenance = Maintenance(child.log, config, postgres_url)
    child.report = maintenance.report
    child.ready()
    rounds = asyncio.get_running_loop().create_task(maintenance.run())
    stopping = asyncio.get_running_loop().create_task(child.stopping.wait())
    await asyncio.wait((rounds, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    # Every step is a transaction of its own, so the work may be left anywhere.
    rounds.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await rounds


class Maintenance:
    """The rounds, and what was seen of PostgreSQL in the last one."""

    def __init__(self, log: Any, config: Config, postgres_url: str) -> None:
        self._log = log
        self._config = config
        self._url = postgres_url
        self._trouble = ""
        self._rounds = 0
        self._made = 0
        self._postponed = 0

    def report(self) -> dict[str, Any]:
        """Return the figures for the heartbeat; `trouble` is empty where all is well."""
        return {
            "rounds": self._rounds,
            "partitions_made": self._made,
            "partitions_postponed": self._postponed,
            "trouble": self._trouble,
        }

    async def run(self) -> None:
        """Make rounds for ever."""
        while True:
            pause_s = await self.round(clock.utc_now())
            await asyncio.sleep(pause_s)

    async def round(self, now: datetime) -> float:
        """Do what is due at the aware moment `now`; return the seconds until the next round."""
        failpoints.reach("maintenance.round")
        try:
            outcome = await self._partitions(now)
        except (DatabaseUnavailableError, database.PostgresError, OSError, TimeoutError) as error:
            self._note_trouble(error)
            return min(RETRY_S, self._config.maintenance.interval_s)
        if self._trouble:
            self._trouble = ""
            self._log.info("database_back")
        self._rounds += 1
        self._made += len(outcome.made)
        self._postponed = len(outcome.postponed)
        if outcome.made:
            self._log.info("partitions_made", partitions=outcome.made)
        if outcome.postponed:
            self._log.warning("partitions_postponed", partitions=outcome.postponed, because="locked", retry_s=RETRY_S)
            return min(RETRY_S, self._config.maintenance.interval_s)
        return self._config.maintenance.interval_s

    async def _partitions(self, now: datetime) -> Outcome:
        connection = await open_connection(self._config, self._url)
        try:
            return await make_partitions(connection, days_needed(now, self._config.maintenance.partitions_ahead_days))
        finally:
            await database.close(connection)

    def _note_trouble(self, error: BaseException) -> None:
        if database.classify(error) is Failure.SCHEMA:
            trouble, advice = "database_not_usable", "run `hseie migrate`, and look at the rights of the user"
        else:
            trouble, advice = "database_away", "the work waits; nothing is lost"
        if trouble != self._trouble:
            self._trouble = trouble
            self._log.warning(trouble, reason=str(error), advice=advice)
