"""Makes the history of the nominal fleet in a node's database: as if it had reported every minute for hours or weeks.

    .venv/bin/python bench/fleet_history.py fill --data DIR --hours 25     # up to the last whole minute
    .venv/bin/python bench/fleet_history.py serve --data DIR               # run the database of DIR, without the node

The values follow from ids and times alone, so that two runs make the same: energy with the taper of a charge, losses
between 5 and 14 % and for three pairs in a hundred above 32 %, voltages, temperatures of the hour and the load, gaps,
and in one pair of four clocks that jitter. Readings are inserted in the order in which they would have come, into the
real tables with their real indexes, so that both have the size that they have in life; day books and current states
are kept, so that the audit balances, and rows of hours that were rolled up are marked. Works beside a node too.
"""

import argparse
import asyncio
import contextlib
import itertools
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hseie import database, migrations
from hseie.embedded.server import EmbeddedPostgres
from hseie.readings import KINDS, Kind
from hseie.supervisor.lock import InstanceLock

DEVICES = 10_000
JOURNAL = "00000000-0000-4000-8000-00000000be0c"
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
BYTES_A_READING = 250  # of disk, with what PostgreSQL writes besides; measured: see README
_SQL = Path(__file__).parent / "sql"


def text(name: str, kind: Kind | None = None, **names: str) -> str:
    """Return a statement of bench/sql, with its names filled in."""
    found = (_SQL / f"{name}.sql").read_text()
    found = re.sub(r"^\\ir (\S+)\.sql$", lambda line: text(line[1]), found, flags=re.MULTILINE)
    if kind is not None:
        values = [field.column for field in kind.fields]
        names |= {
            "kind": kind.name,
            "id": kind.id_column,
            "columns": ", ".join(f'"{column}"' for column in kind.columns),
            "values": ", ".join(values),
            "assignments": ", ".join(f"{column} = excluded.{column}" for column in values),
        }
    for name, value in names.items():
        found = found.replace(f"{{{name}}}", value)
    return found


def hours_between(start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """Cut a range of time at whole hours, so that each piece lies in one hour and one day."""
    edges = [start]
    while edges[-1] < end:
        edges.append(min(end, edges[-1].replace(minute=0, second=0, microsecond=0) + HOUR))
    return list(itertools.pairwise(edges))


def days_between(start: datetime, end: datetime) -> list[datetime]:
    """Return the midnights of the whole days of a range."""
    return [start + number * DAY for number in range((end - start) // DAY)]


def partition(kind: Kind, moment: datetime) -> str:
    return f"{kind.name}_history_{moment:%Y_%m_%d}"


@dataclass
class Fleet:
    """The fleet in the database at `url`."""

    url: str
    devices: int = DEVICES

    async def prepare(self) -> None:
        """Make what the generator needs; nothing where it is there."""
        connection = await self._connect()
        try:
            await connection.execute(text("fleet"))
            if await connection.fetchval("SELECT count(*) FROM bench.pair") != self.devices:
                await connection.execute("TRUNCATE bench.pair")
                await connection.execute(text("pairs"), self.devices)
                await connection.execute("ANALYZE bench.pair")
            await connection.execute(text("checkpoint"), JOURNAL)
        finally:
            await database.close(connection)

    async def made(self) -> tuple[datetime, datetime] | None:
        """Return since and until when there is history of both kinds; None where there is none."""
        connection = await self._connect()
        try:
            row = await connection.fetchrow("SELECT max(starts), min(until), count(*) FROM bench.made")
        finally:
            await database.close(connection)
        return (row[0], row[1]) if row[2] == len(KINDS) else None

    async def fill(self, start: datetime, end: datetime, say: Any = print) -> int:
        """Make what is still missing of [start, end), both kinds at once, an hour a transaction; return how many."""
        return await self._both(self._fill_kind, start, end, say)

    async def build(self, start: datetime, end: datetime, say: Any = print) -> int:
        """As `fill`, of whole UTC days, a day a transaction and its index last: twice as fast, and the index is smaller
        than one that grew row by row. For days that soon leave history."""
        return await self._both(self._build_kind, start, end, say)

    async def _both(self, work: Any, start: datetime, end: datetime, say: Any) -> int:
        began = time.monotonic()
        counts = await asyncio.gather(*(work(kind, start, end) for kind in KINDS))
        took_s = time.monotonic() - began
        say(
            f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}: {sum(counts):,} readings made in {took_s:.0f} s,"
            f" {sum(counts) / took_s:,.0f} a second"
        )
        return sum(counts)

    async def _fill_kind(self, kind: Kind, start: datetime, end: datetime) -> int:
        connection = await self._connect()
        made = 0
        try:
            until = await connection.fetchval("SELECT until FROM bench.made WHERE kind = $1", kind.name)
            for first, last in hours_between(max(start, until or start), end):
                await connection.execute(database.statement("make_partition"), kind.name, first.date())
                async with connection.transaction():
                    await connection.execute("SELECT pg_advisory_xact_lock_shared(hseie_rollup_lock())")
                    made += await self._insert(connection, kind, partition(kind, first), first, last)
                    await connection.execute(text("mark", kind), first.replace(minute=0))
            await connection.execute(text("current", kind), end - 2 * HOUR, end)
        finally:
            await database.close(connection)
        return made

    async def _build_kind(self, kind: Kind, start: datetime, end: datetime) -> int:
        connection = await self._connect()
        made = 0
        try:
            until = await connection.fetchval("SELECT until FROM bench.made WHERE kind = $1", kind.name)
            storage = await connection.fetchval("SELECT hseie_partition_storage()")
            for day in days_between(max(start, until or start), end):
                table, next_day = partition(kind, day), day + DAY
                names = {
                    "table": table,
                    "storage": storage,
                    "day": f"{day:%Y-%m-%d}",
                    "next_day": f"{next_day:%Y-%m-%d}",
                }
                async with connection.transaction():
                    await connection.execute(text("build_table", kind, **names))
                    made += await self._insert(connection, kind, table, day, next_day)
                    await connection.execute(text("build_index", kind, **names))
                    await connection.execute(text("build_attach", kind, **names))
            await connection.execute(text("current", kind), end - 2 * HOUR, end)
        finally:
            await database.close(connection)
        return made

    async def _insert(self, connection: Any, kind: Kind, table: str, first: datetime, last: datetime) -> int:
        """Insert the readings of a range within a day, and count them in the books."""
        status = await connection.execute(text(kind.name, table=table), first, last)
        count = int(status.rsplit(" ", 1)[1])
        books = database.statement("book_add")
        await connection.execute(books, JOURNAL, [kind.name], [count], [count], [0], [0])
        await connection.execute(
            database.statement("day_book_add"), JOURNAL, [kind.name], [f"{first:%Y-%m-%d}"], [count]
        )
        await connection.execute(text("made", kind), first, last)
        return count

    async def _connect(self) -> Any:
        return await database.connect(self.url, "bench", 10.0)


@contextlib.contextmanager
def running_postgres(data: Path, settings: dict[str, str] | None = None) -> Iterator[str]:
    """The embedded server of a data folder without its node, migrated; its url. Raises where a node runs there."""
    lock = InstanceLock.acquire(data)
    server = EmbeddedPostgres(data / "postgres", settings=settings)
    try:
        url = server.start()
        asyncio.run(database.with_connection(url, "bench", migrations.migrate))
        yield url
    finally:
        server.stop()
        lock.release()


def check_room(folder: Path, needed_bytes: int) -> None:
    """End with a message where the disk has no room for so much and a tenth of itself."""
    usage = shutil.disk_usage(folder)
    if usage.free < needed_bytes + usage.total // 20:
        raise SystemExit(
            f"{folder} has {usage.free >> 30} GiB free; this needs {needed_bytes >> 30} GiB and must leave "
            f"{usage.total // 20 >> 30} GiB. Choose another --data or a smaller --scale."
        )


def whole_minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


async def fill(url: str, devices: int, start: datetime, end: datetime) -> None:
    fleet = Fleet(url, devices)
    await fleet.prepare()
    await fleet.fill(start, end)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("command", choices=("fill", "serve"))
    parser.add_argument("--data", type=Path, required=True, help="a node's data folder, or a new one")
    parser.add_argument("--hours", type=float, default=25.0)
    parser.add_argument("--scale", type=float, default=1.0, help=f"of {DEVICES:,} pairs")
    chosen = parser.parse_args(arguments)
    devices = max(1, round(DEVICES * chosen.scale))
    chosen.data.mkdir(parents=True, exist_ok=True)
    with running_postgres(chosen.data) as url:
        if chosen.command == "fill":
            check_room(chosen.data, int(devices * 120 * chosen.hours) * BYTES_A_READING)
            end = whole_minute(datetime.now(UTC))
            start = (end - timedelta(hours=chosen.hours)).replace(minute=0)
            asyncio.run(fill(url, devices, start, end))
        else:
            print(f"{url}\nruns until Ctrl-C", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                while True:
                    time.sleep(3600)


if __name__ == "__main__":
    main()
