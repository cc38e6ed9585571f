"""Looks into a node's database from outside: what is rolled up, vacuumed, and how large it is."""

import asyncio
import time
from datetime import datetime
from typing import Any

from fleet_history import HOUR  # the bench beside this one

from hseie.database import connect

PATIENCE_S = 60.0
Found = dict[str, Any]


async def _asked(url: str, sql: str, *values: Any) -> Any:
    connection = await connect(url, "bench", 10.0)
    try:
        return await connection.fetch(sql, *values)
    finally:
        await connection.close()


def rows(url: str, sql: str, *values: Any) -> list[Any]:
    return list(asyncio.run(_asked(url, sql, *values)))


def watch_closing(url: str, until: datetime) -> list[float]:
    """Wait until all hours before `until` are rolled up; return the seconds that each hour took.

    Gives up, with what there is, where nothing has moved for a minute.
    """

    async def watch() -> list[float]:
        connection = await connect(url, "bench", 10.0)
        took: list[float] = []
        before, moved_at = None, time.monotonic()
        try:
            while time.monotonic() - moved_at < PATIENCE_S:
                now = await connection.fetchval("SELECT nullif(rolled_until, '-infinity') FROM rollup_state")
                if now is not None and now != before:
                    if before is not None:
                        hours = max(1, round((now - before) / HOUR))
                        took += [(time.monotonic() - moved_at) / hours] * hours
                    before, moved_at = now, time.monotonic()
                    if now >= until:
                        break
                await asyncio.sleep(0.02)
        finally:
            await connection.close()
        return took

    return asyncio.run(watch())


def wait_for_vacuum(url: str) -> None:
    """Until autovacuum has followed the filling, as it has in life, where a day takes a day to come."""
    due = (
        "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname ~ '_history_[0-9]{4}_' AND relpages > 1000"
        " AND relallvisible < relpages * 0.8"
    )
    until = time.monotonic() + 5 * PATIENCE_S
    while rows(url, due)[0][0] and time.monotonic() < until:
        time.sleep(1)


def sizes(url: str) -> Found:
    """Bytes a reading in the heap and in the index, by kind."""
    found = {}
    for kind in ("meter", "vehicle"):
        (row,) = rows(
            url,
            f"SELECT sum(pg_relation_size(relid)), sum(pg_indexes_size(relid)), (SELECT count(*) FROM {kind}_history)"
            " FROM pg_partition_tree($1::regclass) WHERE isleaf",
            f"{kind}_history",
        )
        found[kind] = {"readings": row[2], "heap": float(row[0] / row[2]), "index": float(row[1] / row[2])}
    return found
