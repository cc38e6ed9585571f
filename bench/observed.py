"""Looks into a node's database from outside: what is rolled up, vacuumed, and how large it is."""

import asyncio
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from fleet_history import HOUR  # the bench beside this one

from hseie.config_load import load
from hseie.database import connect
from hseie.maintenance.partitions import open_connection
from hseie.maintenance.rollups import RollupDuty

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


async def _close_hours(url: str, data: Path, last: datetime, single: int) -> list[float]:
    config = load(overrides={"node.data": str(data)}).config
    duty = RollupDuty(structlog.get_logger(), config, url)
    lag = timedelta(seconds=config.maintenance.rollup_lag_s)
    connection = await open_connection(config, url)
    took_s = []
    try:
        for hour in range(-single, 1):
            began = time.monotonic()
            while await duty.work(connection, last + hour * HOUR + lag) == 0.0:
                pass
            took_s.append(time.monotonic() - began)
    finally:
        await connection.close()
    return took_s[1:]


def close_hours(url: str, data: Path, last: datetime, single: int) -> list[float]:
    """Close and roll up all hours before the whole hour `last`, by the duty of the maintenance process.

    Return the seconds of each of the last `single` ones, which are done as in life: each on its own, when it is over.
    """
    return asyncio.run(_close_hours(url, data, last, single))


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
