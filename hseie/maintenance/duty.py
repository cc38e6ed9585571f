"""A duty of the maintenance process: some work that is due again and again, on a connection of its own.

PostgreSQL may be away: that is said once, and once when it is back; the work waits. Duties do not wait for each other.
"""

import asyncio
from datetime import datetime
from typing import Any, Protocol

from hseie import clock, database
from hseie.config import Config
from hseie.database import DATABASE_ERRORS, Failure
from hseie.maintenance.partitions import open_connection

# Sooner than the interval: after an outage, or for a lock that was not to be had.
RETRY_S = 5.0


class Duty(Protocol):
    """What a module of this folder offers. Every step is a transaction of its own, so it may be left anywhere."""

    name: str
    interval_s: float

    async def work(self, connection: Any, now: datetime) -> float:
        """Do what is due at the aware moment `now`; return the seconds until the next round.

        `connection` is one of `open_connection`. Raises what PostgreSQL raises.
        """

    def report(self) -> dict[str, Any]:
        """Return the figures for the heartbeat. Their names are those of no other duty."""


class Troubles:
    """What keeps duties from PostgreSQL, said once, however many of them meet it."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._found: dict[str, str] = {}

    def __str__(self) -> str:
        return next(iter(self._found.values()), "")

    def met(self, duty: str, error: BaseException) -> None:
        """Note why a duty could not be done. A lock that somebody held is no trouble: the next round comes soon."""
        failure = database.classify(error)
        if failure is Failure.RETRY:
            return
        if failure is Failure.SCHEMA:
            trouble, advice = "database_not_usable", "run `hseie migrate`, and look at the rights of the user"
        else:
            trouble, advice = "database_away", "the work waits; nothing is lost"
        if trouble not in self._found.values():
            self._log.warning(trouble, duty=duty, reason=str(error), advice=advice)
        self._found[duty] = trouble

    def over(self, duty: str) -> None:
        """Note that a duty was done."""
        if self._found.pop(duty, None) and not self._found:
            self._log.info("database_back")


class Rounds:
    """Does one duty for ever."""

    def __init__(self, duty: Duty, troubles: Troubles, config: Config, postgres_url: str) -> None:
        self.duty = duty
        self.finished = 0
        self._troubles = troubles
        self._config = config
        self._url = postgres_url

    async def run(self) -> None:
        """Make rounds for ever."""
        while True:
            pause_s = await self.round(clock.utc_now())
            await asyncio.sleep(pause_s)

    async def round(self, now: datetime) -> float:
        """Do what is due at the aware moment `now`; return the seconds until the next round."""
        try:
            connection = await open_connection(self._config, self._url)
            try:
                pause_s = await self.duty.work(connection, now)
            finally:
                await database.close(connection)
        except DATABASE_ERRORS as error:
            self._troubles.met(self.duty.name, error)
            return min(RETRY_S, self.duty.interval_s)
        self._troubles.over(self.duty.name)
        self.finished += 1
        return pause_s
