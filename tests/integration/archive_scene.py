"""A database with old days, and an archiver whose clock and whose steps a test sets."""

import os
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import structlog

from hseie import database
from hseie.archive import Archive, parts_of
from hseie.archive_export import bounds
from hseie.audit import audit
from hseie.books import Audit, Journals
from hseie.config import Config
from hseie.config_load import load
from hseie.maintenance.archive import ArchiveDuty
from hseie.maintenance.partitions import open_connection
from hseie.readings import METER, VEHICLE, Kind

DAY = date(2026, 2, 8)
NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)
YOUNGEST = date(2026, 3, 21)  # the day of the one reading that says how late it is
END_OF_TIME = datetime(9999, 1, 1, tzinfo=UTC)

STORE = {
    METER: "INSERT INTO meter_history (timestamp, meter_id, kwh_consumed_ac, voltage) VALUES ($1, $2, $3, 230.5)",
    VEHICLE: "INSERT INTO vehicle_history (timestamp, vehicle_id, kwh_delivered_dc, soc, battery_temp)"
    " VALUES ($1, $2, $3, 50, -7.25)",
}
BOOK = (
    "INSERT INTO day_book (journal_id, kind, day, stored) VALUES ($1, $2, $3, $4)"
    " ON CONFLICT (journal_id, kind, day) DO UPDATE SET stored = day_book.stored + excluded.stored"
)
CURRENT = {
    kind: f"INSERT INTO {kind.name}_current ({', '.join(kind.columns)})"
    f" SELECT DISTINCT ON ({kind.id_column}) {', '.join(kind.columns)} FROM {kind.name}_history"
    f" ORDER BY {kind.id_column}, timestamp DESC, id DESC ON CONFLICT ({kind.id_column}) DO UPDATE SET"
    f" {', '.join(f'{column} = excluded.{column}' for column in kind.columns[1:])}"
    f" WHERE {kind.name}_current.timestamp <= excluded.timestamp"
    for kind in (METER, VEHICLE)
}
JOURNAL = "INSERT INTO shard_checkpoint VALUES ($1, 0, 1, 1, $1, 1, 1)"
BOOKS = (
    "INSERT INTO shard_book (journal_id, kind, received, stored) VALUES ($1, $2, $3, $3)"
    " ON CONFLICT (journal_id, kind) DO UPDATE SET received = shard_book.received + excluded.received,"
    " stored = shard_book.stored + excluded.stored"
)
PARTITIONS = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent::regclass::text ~ '_history$'"


def needs_duckdb() -> None:
    """Skip a test that needs DuckDB where it is not installed; in CI that is a failure."""
    if not Archive(Path(), 64).available and os.environ.get("CI") != "true":
        pytest.skip("DuckDB is not installed: the extra `archive`")


class ArchiveScene:
    """A database, a folder, and what was stored, row by row."""

    def __init__(self, url: str, folder: Path, **settings: Any) -> None:
        self.url = url
        self.folder = folder / "archive"
        given = {name.replace("__", "."): value for name, value in settings.items()}
        self.config: Config = load(overrides={"node.data": str(folder), "postgres.url": url, **given}).config
        self.duty = self.new_duty()
        self.journal = uuid4()
        self.stored: Counter[tuple[Any, ...]] = Counter()

    def new_duty(self, grace_s: float = 0.0) -> ArchiveDuty:
        """An archiver as it is after a start, with the seconds it waits before it drops what it wrote."""
        duty = ArchiveDuty(structlog.get_logger(), self.config)
        duty.grace_s = grace_s
        return duty

    async def execute(self, statement: str, *values: Any) -> None:
        await database.with_connection(self.url, "scene", lambda connection: connection.execute(statement, *values))

    async def fetch(self, statement: str, *values: Any) -> list[Any]:
        return await database.with_connection(
            self.url, "scene", lambda connection: connection.fetch(statement, *values)
        )

    async def begin(self, rolled_until: datetime = END_OF_TIME, newer: bool = True) -> None:
        """Start the books; with a reading that is newer than NOW, for the archiver goes by the devices' clocks too."""
        await self.execute(JOURNAL, self.journal)
        await self.execute("UPDATE rollup_state SET closed_until = $1, rolled_until = $1", rolled_until)
        if newer:
            await self.store(VEHICLE, YOUNGEST, devices=1, readings=1)

    async def store(
        self,
        kind: Kind,
        day: date = DAY,
        devices: int = 3,
        readings: int = 20,
        offset_s: int = 0,
        partition: bool = True,
    ) -> None:
        """Store readings of a day and book them, as a flush does: all in one transaction."""

        async def work(connection: Any) -> None:
            if partition:
                await connection.execute("SELECT hseie_make_partition($1, $2)", kind.name, day)
            async with connection.transaction():
                await self.store_within(connection, kind, day, devices, readings, offset_s)

        await database.with_connection(self.url, "scene", work)

    async def store_within(
        self, connection: Any, kind: Kind, day: date, devices: int, readings: int, offset_s: int = 0
    ) -> None:
        """The transaction of `store`, on a connection that is in one."""
        start, _ = bounds(day)
        rows = [
            (start + timedelta(seconds=60 * number + offset_s), f"{kind.name}-{device}", Decimal(number) / 16)
            for device in range(devices)
            for number in range(readings)
        ]
        await connection.executemany(STORE[kind], rows)
        await connection.execute(BOOK, self.journal, kind.name, day, len(rows))
        await connection.execute(BOOKS, self.journal, kind.name, len(rows))
        await connection.execute(CURRENT[kind])
        self.stored.update((kind.name, device, at, kwh) for at, device, kwh in rows)

    async def round(self, duty: ArchiveDuty | None = None, now: datetime = NOW) -> float:
        """One round of the archiver, on a connection as it has it."""
        connection = await open_connection(self.config, self.url)
        try:
            return await (duty or self.duty).work(connection, now)
        finally:
            await database.close(connection)

    async def until_archived(self, rounds: int = 30) -> None:
        for _ in range(rounds):
            await self.round()
            if not self.duty.report()["archive_days_waiting"]:
                return
        raise AssertionError(f"days still wait after {rounds} rounds: {self.duty.report()}")

    async def a_day_later(self) -> None:
        """Let a day pass for what has left history, as far as the archiver can tell."""
        await self.execute("UPDATE archive_part SET changed_at = changed_at - interval '1 day'")

    async def states(self, kind: Kind = METER, day: date = DAY) -> list[tuple[int, str, int]]:
        """Part, state and readings of a day."""
        rows = await self.fetch("SELECT * FROM archive_part WHERE kind = $1 AND day = $2 ORDER BY part", kind.name, day)
        return [(row["part"], row["state"], row["readings"]) for row in rows]

    async def partitions(self) -> set[str]:
        """The partitions of both kinds, but for the one that `begin` makes."""
        return {row[0] for row in await self.fetch(PARTITIONS)} - {f"vehicle_history_{YOUNGEST:%Y_%m_%d}"}

    async def everything(self) -> Counter[tuple[Any, ...]]:
        """Each reading as queries find it, in history or in a file, with how often: by its id once."""
        archive = Archive(self.folder, 64)
        found: dict[tuple[str, int], tuple[Any, ...]] = {}
        try:
            for kind in (METER, VEHICLE):
                place = 2 + next(n for n, value in enumerate(kind.fields) if value.unit == "kWh")
                rows = await self.fetch(f"SELECT {kind.id_column}, timestamp, id, * FROM {kind.name}_history")
                for row in rows:
                    found[kind.name, row["id"]] = (kind.name, row[0], row[1], row[kind.energy.column])
                parts = await database.with_connection(
                    self.url, "scene", lambda connection, kind=kind: parts_of(connection, kind, DAY, NOW.date())
                )
                devices = [f"{kind.name}-{number}" for number in range(100)]
                for read in await archive.readings(parts, kind, devices, *bounds(DAY)[:1], END_OF_TIME):
                    found[kind.name, read[2]] = (kind.name, read[0], read[1], read[place + 1])
        finally:
            await archive.close()
        return Counter(found.values())

    async def audit(self) -> Audit:
        return await database.with_connection(
            self.url, "scene", lambda connection: audit(connection, lambda _: Journals())
        )

    async def prove(self) -> None:
        """Every reading is found exactly once, and the books balance."""
        assert await self.everything() == +self.stored
        assert (await self.audit()).differences == []
