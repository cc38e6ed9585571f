"""Vacuums each day once it is over, so that queries of it are answered from the index alone.

While a day fills, autovacuum follows it (migration 0011_growth.sql); after its last row nothing would call it any more.
"""

import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

from hseie import database
from hseie.config import Config
from hseie.database import Failure, statement
from hseie.readings import KINDS

# A day is over for us when the readings of its last minutes have come, of devices too that try again for a while.
LAG = timedelta(minutes=15)

# Pages that stay unmarked although vacuum was there have rows that some old transaction cannot see yet, or got rows
# meanwhile; a partition is not gone through again before this.
AGAIN_S = 3600.0

LOCKED_RETRY_S = 30.0

_NO_SUCH_TABLE = "42P01"


def over_before(now: datetime) -> date:
    """Return the first UTC day that is not over yet, at the aware moment `now`."""
    return (now - LAG).astimezone(UTC).date()


class VacuumDuty:
    """Vacuums the partitions of days that are over, one after the other. See `hseie.maintenance.duty`."""

    name = "vacuum"

    def __init__(self, log: Any, config: Config) -> None:
        self.interval_s = config.maintenance.interval_s
        self._log = log
        self._seen_at: dict[str, float] = {}  # partition to monotonic seconds
        self._vacuums = 0
        self._seconds = 0.0
        self._postponed = 0

    def report(self) -> dict[str, Any]:
        return {"vacuums": self._vacuums, "vacuum_s": round(self._seconds, 3), "vacuums_postponed": self._postponed}

    async def work(self, connection: Any, now: datetime) -> float:
        due = await self._due(connection, over_before(now), time.monotonic())
        postponed = []
        if due:
            await connection.execute(statement("vacuum_gently"))
        for partition, pages in due:
            try:
                await self._vacuum(connection, partition, pages)
            except database.PostgresError as error:
                if error.sqlstate == _NO_SUCH_TABLE:
                    continue  # it has left history since
                if database.classify(error) is not Failure.RETRY:
                    raise
                postponed.append(partition)
        self._postponed = len(postponed)
        if not postponed:
            return self.interval_s
        pause_s = min(LOCKED_RETRY_S, self.interval_s)
        self._log.warning("vacuums_postponed", partitions=postponed, because="locked", retry_s=pause_s)
        return pause_s

    async def _due(self, connection: Any, before: date, now_s: float) -> list[tuple[str, int]]:
        self._seen_at = {name: at for name, at in self._seen_at.items() if now_s - at < AGAIN_S}
        rows = [row for kind in KINDS for row in await connection.fetch(statement("vacuum_due", kind), before)]
        return [(row["partition"], row["pages"]) for row in rows if row["partition"] not in self._seen_at]

    async def _vacuum(self, connection: Any, partition: str, pages: int) -> None:
        # The name comes quoted from the catalog. A plain statement: VACUUM refuses to run in a transaction.
        began = time.monotonic()
        await connection.execute(statement("vacuum_partition").format(partition=partition))
        took_s = time.monotonic() - began
        self._seen_at[partition] = time.monotonic()
        self._vacuums += 1
        self._seconds += took_s
        self._log.info("partition_vacuumed", partition=partition, pages=pages, took_s=round(took_s, 3))
