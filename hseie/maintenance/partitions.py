"""The day partitions: which are needed, and making them without standing in anybody's way."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from hseie import database, failpoints
from hseie.config import Config
from hseie.database import Failure, statement
from hseie.readings import KINDS

# Readings of yesterday go on arriving after midnight.
DAYS_BACK = 1

_NAMED_MAX = 3  # in a heartbeat; the log has all

LOCKED_RETRY_S = 5.0

# Another partition overlaps this one; or the default partition has rows of its day.
_OCCUPIED = ("42P17", "23514")


@dataclass
class Outcome:
    """What one round made, what it has to try again because somebody held a lock, and what it cannot make, because
    another partition has that day, or rows of it. Names are `meter 2026-02-08`.
    """

    made: list[str] = field(default_factory=list)
    postponed: list[str] = field(default_factory=list)
    occupied: list[str] = field(default_factory=list)


def days_needed(now: datetime, ahead_days: int) -> list[date]:
    """Return the UTC days that should have partitions at the aware moment `now`, the most urgent first.

    Days further back are made on demand by the writers, when a late reading comes.
    """
    today = now.astimezone(UTC).date()
    ahead = [today + timedelta(days=days) for days in range(ahead_days + 1)]
    return ahead + [today - timedelta(days=days) for days in range(1, DAYS_BACK + 1)]


async def open_connection(config: Config, postgres_url: str) -> Any:
    """Open a connection that never waits long for a lock, so that it never makes others wait behind it.

    Raises DatabaseUnavailableError.
    """
    connect_timeout_s = config.postgres.connect_timeout_ms / 1000
    settings = {
        "lock_timeout": str(config.postgres.lock_timeout_ms),
        # Rollups are made by statements whose plans depend on the values at hand (see sql/parts/meeting.sql), and that
        # run for seconds, so that planning and compiling are not what they need less or more of.
        "plan_cache_mode": "force_custom_plan",
        "jit": "off",
    }
    return await database.connect(postgres_url, "hseie maintenance", connect_timeout_s, settings)


async def make_partitions(connection: Any, days: Iterable[date]) -> Outcome:
    """Make what is missing, each partition in a transaction of its own, on a connection of `open_connection`.

    Raises what PostgreSQL raises, except for locks it did not get and for days that a partition of somebody else has.
    """
    outcome = Outcome()
    for day in days:
        for kind in KINDS:
            try:
                made = await connection.fetchval(statement("make_partition"), kind.name, day)
            except database.PostgresError as error:
                if error.sqlstate in _OCCUPIED:
                    outcome.occupied.append(f"{kind.name} {day}")
                elif database.classify(error) is Failure.RETRY:
                    outcome.postponed.append(f"{kind.name} {day}")
                else:
                    raise
            else:
                if made:
                    outcome.made.append(f"{kind.name} {day}")
    return outcome


class PartitionDuty:
    """Makes the partitions of the days ahead. See `hseie.maintenance.duty`."""

    name = "partitions"

    def __init__(self, log: Any, config: Config) -> None:
        self.interval_s = config.maintenance.interval_s
        self._ahead_days = config.maintenance.partitions_ahead_days
        self._log = log
        self._foreign: list[str] = []
        self._made = 0
        self._postponed = 0

    def report(self) -> dict[str, Any]:
        return {
            "partitions_made": self._made,
            "partitions_postponed": self._postponed,
            "partitions_foreign": len(self._foreign),
            "partitions_foreign_names": ", ".join(self._foreign[:_NAMED_MAX]),
        }

    async def work(self, connection: Any, now: datetime) -> float:
        failpoints.reach("maintenance.round")
        outcome = await make_partitions(connection, days_needed(now, self._ahead_days))
        self._made += len(outcome.made)
        self._postponed = len(outcome.postponed)
        if outcome.made:
            self._log.info("partitions_made", partitions=outcome.made)
        await self._look_for_foreign(connection, outcome)
        if not outcome.postponed:
            return self.interval_s
        pause_s = min(LOCKED_RETRY_S, self.interval_s)
        self._log.warning("partitions_postponed", partitions=outcome.postponed, because="locked", retry_s=pause_s)
        return pause_s

    async def _look_for_foreign(self, connection: Any, outcome: Outcome) -> None:
        """Say once which partitions are not ours: they stay as they are, and nobody else would notice them."""
        rows = await connection.fetch(statement("partitions_foreign"), [kind.name for kind in KINDS])
        found = [row["partition"] for row in rows]
        if found != self._foreign:
            advice = "their rows are found and never leave history; move them, see the runbook"
            self._log.warning("partitions_foreign", partitions=found, occupied=outcome.occupied, advice=advice)
        self._foreign = found
